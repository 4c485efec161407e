"""The pipeline's settings with types and units. They are read from environment variables ``STREAMS_…``."""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streams.durations import Seconds, parse_duration
from streams.settings.environment import EnvironmentSource
from streams.settings.mail import MailSettings
from streams.settings.models import ModelSettings
from streams.settings.observability import ObservabilitySettings
from streams.settings.schedules import ScheduleSettings
from streams.settings.sentry import SentrySettings, load_sentry
from streams.settings.services import ServiceSettings
from streams.settings.sources import SourceSettings, split_names
from streams.urls import check_urls

__all__ = [
    "POOL_NAMES",
    "PoolName",
    "Settings",
    "SettingsError",
    "load_settings",
]

PoolName = Literal["high", "default", "low"]
POOL_NAMES: tuple[PoolName, ...] = ("high", "default", "low")
LogLevel = Literal["debug", "info", "warning", "error"]
_PREFIX = "STREAMS_"
_LONGEST_VALUE = 1_000
_LONGEST_VALUES = {
    "kafka_config": 65_536,
    "kafka_bootstrap_servers": 10_000,
    "dlq_key": 10_000,
    "handlers": 10_000,
    "storage_options": 65_536,
}
"""Characters by setting."""
_MULTILINE = frozenset({"kafka_config", "storage_options", "handlers", "pools", "retry_delays"})
_BREAKS = {ord(space): " " for space in "\n\r\t"}


class SettingsError(Exception):
    """The environment has an invalid value for a setting. The message is one line for the user."""


class Settings(
    ModelSettings,
    SourceSettings,
    MailSettings,
    ServiceSettings,
    ScheduleSettings,
    ObservabilitySettings,
    BaseSettings,
):
    """The values of one process. They cannot change while it runs."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore")

    application: str = Field(
        "streams", pattern=r"^[a-z][a-z0-9-]*$", max_length=100, description="prefix of groups, tiers and DLQs"
    )
    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]*$", max_length=100, description="put before every topic name, to share a cluster"
    )
    pools: tuple[PoolName, ...] = Field(POOL_NAMES, description="pools that this worker hosts")
    handlers: tuple[str, ...] = Field((), description="packages with more events and handlers")
    overrides: Path | None = Field(None, description="TOML file that overrides handlers and topics")

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    kafka_security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    kafka_sasl_mechanism: str | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_location: Path | None = None
    kafka_ssl_certificate_location: Path | None = None
    kafka_ssl_key_location: Path | None = None
    kafka_config: dict[str, str] = Field(default_factory=dict, description="JSON: more librdkafka settings")
    kafka_connect_timeout: Seconds = Field(10.0, ge=1, description="seconds for a connection, TLS and SASL included")
    kafka_request_timeout: Seconds = Field(10.0, description="seconds for an admin or metadata request")
    group_protocol: Literal["cooperative", "consumer"] = Field(
        "cooperative", description="'consumer' is KIP-848: only if the brokers' session and heartbeat are lowered"
    )

    database_url: SecretStr = SecretStr("postgresql://127.0.0.1:5432/streams")
    database_pooler: Literal["none", "transaction"] = Field(
        "none", description="'transaction': the URL leads to a pooler such as PgBouncer, which shares connections"
    )
    database_connect_timeout: Seconds = 5.0
    database_request_timeout: Seconds = Field(
        30.0, ge=1, description="seconds for a statement of the pipeline itself; handlers have their own limits"
    )
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    redis_connect_timeout: Seconds = 1.0
    redis_request_timeout: Seconds = 1.0
    schema_registry_url: str = Field(
        "file:", description="'file:' is the committed registry; file:PATH another; http(s)://HOST, separated by commas"
    )
    schema_files: Path | None = Field(
        None, description="with a registry over HTTP: folder of the classes' schemas; unset: the committed one"
    )
    schema_registry_username: str | None = None
    schema_registry_password: SecretStr | None = None
    schema_registry_ca_location: Path | None = None
    schema_registry_certificate_location: Path | None = None
    schema_registry_key_location: Path | None = None
    schema_registry_connect_timeout: Seconds = 2.0
    schema_registry_request_timeout: Seconds = Field(5.0, description="seconds without an answer")
    storage_url: str = Field(
        "file:.local/storage",
        description="storage of upload files and large payloads: file:PATH, s3://BUCKET/PREFIX or opendal:SCHEME",
    )
    storage_options: SecretStr | None = Field(None, description="JSON: the options of the scheme of opendal")
    storage_endpoint_url: str | None = Field(None, description="of a bucket that is not on AWS")
    storage_region: str | None = Field(None, description="unset: AWS's own variables and files; the same for the keys")
    storage_access_key: str | None = None
    storage_secret_key: SecretStr | None = None
    storage_connect_timeout: Seconds = Field(5.0, description="seconds for a connection to a bucket")
    storage_request_timeout: Seconds = Field(30.0, description="seconds without an answer from a bucket")
    claim_check_bytes: int = Field(
        524_288, ge=1024, le=1_000_000, description="a larger value goes to the storage, its ticket to Kafka"
    )
    claim_check_removal: Literal["age", "success"] = Field(
        "age",
        description="'success': payloads are also removed after every handler succeeded; only if no other application "
        "reads the topics",
    )
    claim_check_max_bytes: int = Field(
        67_108_864, ge=1_048_576, description="the largest value in bytes; a larger event is rejected"
    )

    retry_delays: tuple[float, ...] = Field(
        (0.0, 10.0, 60.0, 600.0, 3600.0), description="delays of the retry tiers, seconds"
    )
    partitions: int = Field(4, ge=1, description="partitions of a topic that declares none")
    replication_factor: int = Field(0, ge=0, description="0: 3 if there are three brokers, else 1")

    dlq_key: SecretStr | None = Field(
        None, description="Fernet keys, separated by commas: the first encrypts records with secrets, all decrypt"
    )
    ledger_retention_days: int = Field(30, ge=1, le=90, description="days that executions are kept")
    lease_seconds: Seconds = Field(30.0, description="how long a lease of a long delivery lasts without a heartbeat")
    sweep_interval: Seconds = Field(5.0, description="how often lost leases are searched")
    stranded_after: Seconds = Field(
        900.0, ge=1, description="age from which an unfinished document that no record names is requested again"
    )
    stranded_since: datetime | None = Field(
        None, description="earlier documents are the platform's own; unset: the first `streams db upgrade`"
    )
    drain_timeout: Seconds = Field(15.0, le=20.0, description="time limit of the drain after SIGTERM")
    revoke_drain_timeout: Seconds = Field(3.0, le=20.0, description="time limit of the drain of revoked partitions")
    settle_timeout: Seconds = Field(5.0, description="time limit for the acknowledgement of a retry or DLQ record")
    outbox_poll_interval: Seconds = Field(0.02, gt=0, le=0.5, description="how often the relay reads the outbox")
    outbox_relayed: Literal["all", "rest"] = Field(
        "all", description="'rest': only the outbox rows that Debezium cannot send, if it sends the others"
    )
    compute_processes: int = Field(2, ge=1, description="processes for CPU-bound steps; they can be killed")
    compute_memory: int = Field(1024, ge=256, description="MiB that each of them may use beyond what is loaded")
    compute_confined: bool = Field(True, description="they have no network and start no programs")  # noqa: FBT003

    web_bind: str = "127.0.0.1"
    web_port: int = Field(6066, ge=0, le=65535)
    metrics_lag: bool = Field(True, description="export lag with kafka_exporter's names")  # noqa: FBT003
    exporter_host: str = "127.0.0.1"
    exporter_port: int = Field(9308, ge=0, le=65535, description="kafka_exporter's port")
    exporter_interval: Seconds = Field(15.0, ge=1, description="seconds between two collections of `streams exporter`")
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal")
    log_level: LogLevel = "info"
    local_dir: Path = Field(Path(".local"), description="folder of the local stack")

    @property
    def has_http_registry(self) -> bool:
        """True if a registry over HTTP assigns the schemas' ids."""
        return self.schema_registry_url.startswith(("http://", "https://"))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as pydantic-settings calls it
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return arguments and the environment: sources of files that nobody can name would double the time."""
        return init_settings, EnvironmentSource(settings_cls)

    @field_validator("kafka_config", mode="before")
    @classmethod
    def _parse_kafka_config(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value or "{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not all(isinstance(one, str | int | float) for one in found.values()):
            message = 'write a JSON object of texts and numbers, such as {"linger.ms": "5"}'
            raise ValueError(message)
        return {name: one if isinstance(one, str) else json.dumps(one) for name, one in found.items()}

    @field_validator("storage_url", "schema_registry_url")
    @classmethod
    def _check_urls(cls, value: str) -> str:
        return check_urls(value)

    @field_validator("storage_endpoint_url")
    @classmethod
    def _check_http_url(cls, value: str | None) -> str | None:
        return None if value is None else check_urls(value, ("http", "https"))

    @field_validator("pools", "handlers", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return split_names(value)

    @field_validator("retry_delays", mode="before")
    @classmethod
    def _split_delays(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(sorted({parse_duration(part) for part in value.split(",") if part.strip()}))
        return value

    @field_validator("retry_delays")
    @classmethod
    def _has_delay_zero(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if 0.0 not in value:
            message = "one of the retry tiers must have the delay 0s"
            raise ValueError(message)
        return value


def check_characters(environment: Mapping[str, str]) -> None:
    """Raise SettingsError for the first setting that is too long or has a character that cannot be printed."""
    for name, value in environment.items():
        field = name.lower().removeprefix(_PREFIX.lower())
        if not name.upper().startswith(_PREFIX) or field not in Settings.model_fields:
            continue
        longest = _LONGEST_VALUES.get(field, _LONGEST_VALUE)
        if len(value) > longest:
            message = f"{name}: it has {len(value)} characters; at most {longest} are allowed"
            raise SettingsError(message)
        if not value.translate(_BREAKS if field in _MULTILINE else {}).isprintable():
            message = f"{name}: it has a character that cannot be printed, such as a line break, or it is not UTF-8"
            raise SettingsError(message)


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Return the settings of this process's environment. Raises SettingsError with one line that names the variable."""
    check_characters(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        message = f"{_PREFIX}{str(first['loc'][0]).upper()}: {first['msg'].removeprefix('Value error, ')}"
        raise SettingsError(message) from None  # the error contains the value, which may be a secret


def load_sentry_settings() -> SentrySettings | None:
    """Return the settings of Sentry in this process's environment; None: it is not used. Raises SettingsError."""
    try:
        return load_sentry(os.environ)
    except ValueError as error:
        raise SettingsError(str(error)) from None
