"""Several embedding endpoints: the TOML file that STREAMS_EMBEDDING_ENDPOINTS names.

    [[endpoints]]
    provider = "openai"
    model = "text-embedding-3-small"
    url = "https://models.example.com/v1"
    api_key = "…"

Optional: `dimensions`, `batch`, `concurrency`, `connect_timeout`, `request_timeout`. Without them, the settings
STREAMS_EMBEDDING_… apply, but for the dimensions: they are taken from the first answer.
"""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from streams.dify.embedding.local import PROVIDER
from streams.dify.embedding.openai import Endpoint, openai_embedder
from streams.dify.embedding.port import Embedder
from streams.dify.embedding.provider_names import full_provider_name
from streams.durations import Seconds
from streams.settings import Settings, SettingsError
from streams.urls import check_urls

_VARIABLE = "STREAMS_EMBEDDING_ENDPOINTS"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    provider: str = Field(min_length=1, max_length=255)
    model: str = Field(min_length=1, max_length=255)
    url: str
    api_key: SecretStr | None = None
    dimensions: int | None = Field(None, ge=1)
    batch: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)
    connect_timeout: Seconds | None = None
    request_timeout: Seconds | None = None

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return check_urls(value, ("http", "https"))

    @field_validator("provider")
    @classmethod
    def _check_provider(cls, value: str) -> str:
        if value == PROVIDER:
            message = f"{PROVIDER!r} is the local model, which has no endpoint"
            raise ValueError(message)
        return full_provider_name(value)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    endpoints: tuple[_Entry, ...] = ()


def load_endpoints(path: Path) -> tuple[_Entry, ...]:
    """Return the endpoints of a file. Raises SettingsError with one line, which shows no value of the file."""
    try:
        found = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).endpoints
    except OSError as error:
        message = f"{_VARIABLE}: {path}: {error.strerror}"
        raise SettingsError(message) from None
    except UnicodeDecodeError:
        message = f"{_VARIABLE}: {path} is not UTF-8"
        raise SettingsError(message) from None
    except tomllib.TOMLDecodeError as error:
        message = f"{_VARIABLE}: {path} is not TOML: {error}"
        raise SettingsError(message) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"]
        message = f"{_VARIABLE}: {path}: {place}: {what.removeprefix('Value error, ')}"
        raise SettingsError(message) from None  # the error contains the values
    names = [(one.provider, one.model) for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        message = f"{_VARIABLE}: {path}: {twice[1]} of {twice[0]} is there twice"
        raise SettingsError(message)
    return found


def build_endpoint_embedders(settings: Settings) -> list[Embedder]:
    """Return the models of the file of STREAMS_EMBEDDING_ENDPOINTS; none if it is not set. Raises SettingsError."""
    if settings.embedding_endpoints is None:
        return []
    return [
        openai_embedder(
            Endpoint(
                url=entry.url.rstrip("/"),
                provider=entry.provider,
                model=entry.model,
                api_key=entry.api_key,
                dimensions=entry.dimensions,
                batch=entry.batch or settings.embedding_batch,
                concurrency=entry.concurrency or settings.embedding_concurrency,
                connect_timeout=entry.connect_timeout or settings.embedding_connect_timeout,
                request_timeout=entry.request_timeout or settings.embedding_request_timeout,
            )
        )
        for entry in load_endpoints(settings.embedding_endpoints)
    ]
