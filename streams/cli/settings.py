"""`streams settings`: the settings in force, and their sources."""

import os
from collections.abc import Mapping
from difflib import get_close_matches

import typer
from pydantic import SecretStr

from streams.cli.help import Command, examples
from streams.cli.options import prints_rows
from streams.cli.output import WRONG_REQUEST, CommandError, Output, print_rows
from streams.cli.tables import Column
from streams.settings import Settings, load_settings
from streams.urls import MASK, masked_url

app = typer.Typer(add_completion=False)

PREFIX = "STREAMS_"
HARMLESS = frozenset(
    {
        "api.version.request", "bootstrap.servers", "broker.address.family", "client.dns.lookup", "client.id",
        "client.rack",         "compression.codec", "compression.type", "debug", "enable.ssl.certificate.verification",
        "group.remote.assignor",
        "isolation.level", "log_level", "sasl.mechanism", "sasl.mechanisms", "sasl.kerberos.service.name",
        "sasl.oauthbearer.method", "sasl.username", "security.protocol", "socket.keepalive.enable",
        "socket.nagle.disable", "ssl.ca.location", "ssl.certificate.location", "ssl.cipher.suites",
        "ssl.endpoint.identification.algorithm", "ssl.key.location", "ssl.keystore.location",
    }
)  # fmt: skip
"""Settings of librdkafka that are shown. All others are masked: many hold keys, and new ones may."""
HARMLESS_ENDINGS = (".ms", ".bytes", ".kbytes", ".messages", ".count", ".max", ".percent")
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
    """Return a value that may be printed. Secrets are masked, also those in URLs."""
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return masked_url(secret) if "://" in secret else MASK
    if isinstance(value, Mapping):
        return {name: shown if _is_harmless(str(name)) else MASK for name, shown in value.items()}
    if isinstance(value, tuple):
        return ",".join(str(one) for one in value)
    if isinstance(value, str):
        return ",".join(masked_url(one) for one in value.split(",")) if "://" in value else value
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _is_harmless(name: str) -> bool:
    """Return True for a setting of librdkafka that is never a secret."""
    return name in HARMLESS or name.endswith(HARMLESS_ENDINGS)
