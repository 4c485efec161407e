"""`streams settings`: the settings in force, and their sources."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from urllib.parse import urlsplit, urlunsplit

import typer
from pydantic import SecretStr

from streams.cli.help import Command, examples
from streams.cli.options import prints_rows
from streams.cli.output import WRONG_REQUEST, CommandError, Output, print_rows
from streams.cli.tables import Column
from streams.settings import Settings, load_settings

app = typer.Typer(add_completion=False)

PREFIX = "STREAMS_"
MASK = "***"
COLUMNS = (
    Column("setting", 1),
    Column("value", 2, min_width=10),
    Column("source", 3, styles={"environment": "cyan"}),
    Column("description", 4, min_width=30),
)


@app.command(cls=Command, epilog=examples("streams settings", "streams settings --wide"))
@prints_rows
def settings(output: Output) -> None:
    """Show every setting with the value in force. Secrets are masked.

    The command fails for an environment variable that begins with STREAMS_ and is not a setting.
    """
    reject_unknown(os.environ)
    found = load_settings()
    rows = [
        {
            "setting": setting_name(field),
            "value": masked(getattr(found, field)),
            "source": "environment" if field in found.model_fields_set else "default",
            "description": described.description or "",
        }
        for field, described in Settings.model_fields.items()
    ]
    print_rows(rows, COLUMNS, output)


def setting_name(field: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + field.upper()


def reject_unknown(environment: Mapping[str, str]) -> None:
    """Raise CommandError for the first variable with the settings' prefix that is not a setting."""
    known = [setting_name(field) for field in Settings.model_fields]
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = get_close_matches(name.upper(), known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise CommandError(f"{name} is not a setting{hint}", WRONG_REQUEST)


def masked(value: object) -> object:
    """Return a value that may be printed: a secret is masked; in a URL only the password is."""
    if isinstance(value, SecretStr):
        return _without_password(value.get_secret_value())
    if isinstance(value, Mapping):
        return {name: MASK if _is_secret(str(name)) else masked(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return ",".join(str(one) for one in value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _is_secret(name: str) -> bool:
    return any(part in name for part in ("password", "secret", "key.pem", "oauthbearer.client"))


def _without_password(secret: str) -> str:
    """Mask the password of a URL. Any other secret is masked completely."""
    try:
        url = urlsplit(secret)
        host, port = url.hostname, url.port
    except ValueError:
        return MASK
    if not url.scheme or host is None:
        return MASK
    user = f"{url.username}:{MASK}@" if url.password is not None else (f"{url.username}@" if url.username else "")
    place = host if port is None else f"{host}:{port}"
    return urlunsplit((url.scheme, user + place, url.path, MASK if "password" in url.query else url.query, ""))
