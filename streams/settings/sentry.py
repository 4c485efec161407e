"""The settings of Sentry. They have Sentry's own names, without STREAMS_."""

from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

_PREFIX = "SENTRY_"
_LONGEST_DSN = 1_000
_LONGEST_ENVIRONMENT = 64
_LONGEST_RELEASE = 200
"""Characters. The last two are Sentry's limits."""
_DSN_FORM = "this is not a DSN; copy it from the project's client keys: https://KEY@HOST/PROJECT"


class SentrySettings(BaseModel):
    """Where events go in Sentry, and what they are labelled with."""

    model_config = ConfigDict(frozen=True)

    dsn: SecretStr = Field(description="the project's DSN; unset: nothing is reported")
    environment: str = Field("production", description="the deployment, such as staging")
    release: str = Field("", description="the version; unset: the package's version")

    @field_validator("dsn")
    @classmethod
    def _check_dsn(cls, value: SecretStr) -> SecretStr:
        if not is_dsn(value.get_secret_value()):
            raise ValueError(_DSN_FORM)
        return value

    @field_validator("environment")
    @classmethod
    def _check_environment(cls, value: str) -> str:
        # Sentry's rules; it discards the name otherwise (docs.sentry.io, "Environments").
        if not value.isprintable() or len(value) > _LONGEST_ENVIRONMENT or value == "None" or set(value) & set(" /"):
            message = "Sentry takes at most 64 characters, without spaces and slashes"
            raise ValueError(message)
        return value

    @field_validator("release")
    @classmethod
    def _check_release(cls, value: str) -> str:
        # Sentry's rules (docs.sentry.io, "Releases").
        if (
            not value.isprintable()
            or len(value) > _LONGEST_RELEASE
            or value in {".", "..", " "}
            or set(value) & set("/\\")
        ):
            message = "Sentry takes at most 200 characters, without slashes and backslashes"
            raise ValueError(message)
        return value


def is_dsn(value: str) -> bool:
    """Return whether a value has the form of a DSN, as the SDK reads it."""
    if len(value) > _LONGEST_DSN or not value.isascii() or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    project = parts.path.rpartition("/")[2]
    return bool(parts.scheme in {"http", "https"} and parts.hostname and parts.username and port != 0) and (
        project.isdecimal() and not parts.query and not parts.fragment
    )


def load_sentry(environment: Mapping[str, str]) -> SentrySettings | None:
    """Return the settings of Sentry in environment variables; None: SENTRY_DSN is not set or empty.

    Raises:
        ValueError: A value is wrong, or the extra is not installed. The message is one line that names the variable
            and does not repeat its value.
    """
    names = {_PREFIX + field.upper(): field for field in SentrySettings.model_fields}
    given = {field: environment[name] for name, field in names.items() if environment.get(name)}
    if "dsn" not in given:
        return None
    try:
        settings = SentrySettings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        message = f"{_PREFIX}{str(first['loc'][0]).upper()}: {first['msg'].removeprefix('Value error, ')}"
        raise ValueError(message) from None  # the error contains the value
    if find_spec("sentry_sdk") is None:
        message = "SENTRY_DSN: the SDK is not installed; install the extra: pip install 'event-streams[sentry]'"
        raise ValueError(message)
    return settings
