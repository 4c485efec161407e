"""Any value of any setting is accepted, or it is one line that names the setting and holds no secret."""

import os
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from schemas.registry import RegistryError
from streams.cli.settings import masked, setting_name
from streams.codec.encryption import open_encryptor
from streams.database import database_url
from streams.dify.platform import build_platform
from streams.dify.redis import redis_opener
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.schema_registry.clients import open_registry
from streams.settings import Settings, SettingsError, load_settings
from streams.storage import open_store
from streams.transport.kafka.client import client_config
from streams.urls import check_urls, masked_url

WORD = "Tr0ub4dor"
"""A password that no error may repeat."""
VALUES = (
    "", " ", ",", "x", "-1", "0", "0.0001", "1e999", "nan", "9" * 400, "true", "☃", "\udc80", "\x1b[31m", "a\nb", "{}",
    '{"a": 1}', '{"a": {}}', "[" * 100_000, ".", "..a", "/", "garbage", "x" * 900, "x" * 100_000, "10w", "5m,", "٣s",
    "A" * 44,
)  # fmt: skip
URLS = (
    "file:", "file://", "file://host/x", "s3:", "s3://", "s3://bucket/ö", "http:", "http://", "http://[::1", "http://h:abc",
    "http://h:99999", f"http://u:{WORD}@h", f"https://{WORD}@h/x", f"http://h/?key={WORD}", f"redis://u:a#{WORD}@h",
    f"redis://u:a/{WORD}@h:1/0", f"redis://h:{WORD}/0", f"redis+sentinel://u:{WORD}@", f"postgresql://u:{WORD}@h:abc/d",
    f"postgresql://u:a/{WORD}@h/d", f"postgresql://u:a#{WORD}@h:1/d", f"mysql://u:{WORD}@h", "unix:///tmp/x",
)  # fmt: skip
WITH_URLS = ("_url", "_timeout", "_servers", "_key", "retry_delays")
"""The ends of settings that are tried with URLs too: those that take them, and some that a slip may give them to."""
LONGEST_LINE = 2_500
"""Characters."""
BUILT: dict[str, Callable[[Settings], object]] = {
    "kafka": lambda settings: AdminClient({**client_config(settings), "log_level": 0}),
    "database_url": database_url,
    "redis": redis_opener,
    "schema": lambda settings: open_registry(settings, blocking=True),
    "storage_url": open_store,
    "embedding": build_platform,
    "chat": build_platform,
    "qdrant": build_platform,
    "dlq_key": open_encryptor,
    "handlers": build_handlers,
    "topic_prefix": build_catalogue,
    "overrides": build_handlers,
}
"""What is built of the settings, by the beginning of their names."""
KNOWN = (SettingsError, RegistryError, KafkaException)
"""The errors that every command reports in one line."""


def use(settings: Settings, field: str) -> None:
    for start, build in BUILT.items():
        if field.startswith(start):
            build(settings)
    masked(getattr(settings, field))


@pytest.mark.requirement("Faults of others", "L1: each bad value of each setting is one line, never a traceback")
@pytest.mark.parametrize("field", Settings.model_fields)
def test_any_value_of_a_setting_is_used_or_is_one_line(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = setting_name(field)
    for value in (*VALUES, *(URLS if field.endswith(WITH_URLS) else ())):
        monkeypatch.setenv(name, value)
        try:
            use(load_settings.__wrapped__(), field)
        except KNOWN as error:
            line = str(error)
            assert "\n" not in line, (value[:80], line[:200])
            assert len(line) < LONGEST_LINE, (value[:80], line[:200])
            assert WORD not in line, value
            if isinstance(error, SettingsError):
                assert line.startswith("STREAMS_"), (value[:80], line[:200])
        except Exception as error:  # noqa: BLE001 - the value that failed is what a reader needs
            pytest.fail(f"{name}={value[:80]!r}: {type(error).__name__}: {str(error)[:200]}")


@pytest.mark.requirement("Faults of others", "L1: each bad value of each setting is one line, never a traceback")
def test_a_value_inside_the_json_is_blamed_on_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_KAFKA_CONFIG", '{"a": {}}')
    with pytest.raises(SettingsError, match="STREAMS_KAFKA_CONFIG: write a JSON object"):
        load_settings.__wrapped__()


def test_variables_are_found_in_upper_and_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list is separated by commas, not JSON. What has no variable keeps its default; an argument is preferred."""
    monkeypatch.setenv("streams_handlers", "shop.orders, shop.mails")
    monkeypatch.setenv("STREAMS_WEB_PORT", "1")
    settings = Settings(web_port=2)
    assert settings.handlers == ("shop.orders", "shop.mails")
    assert settings.web_port == 2
    assert settings.partitions == Settings.model_fields["partitions"].default


def test_numbers_in_the_json_are_texts_for_librdkafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMS_KAFKA_CONFIG", '{"linger.ms": 5, "socket.keepalive.enable": true}')
    assert load_settings.__wrapped__().kafka_config == {"linger.ms": "5", "socket.keepalive.enable": "true"}


@pytest.mark.requirement("Faults of others", "M9: no password, token or key of a URL or of Kafka's settings is shown")
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            f"postgresql://u:{WORD}@h:5432/d?sslmode=require&password={WORD}",
            "postgresql://u:***@h:5432/d?sslmode=require&password=***",
        ),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        (f"postgresql://u:{WORD}@h1:1,h2:2/d", "postgresql://u:***@h1:1,h2:2/d"),
        (f"redis://:{WORD}@h:6379/0", "redis://:***@h:6379/0"),
        (f"redis://{WORD}@h:6379/0", "redis://***@h:6379/0"),
        (f"redis+sentinel://u:{WORD}@h:1,h:2/main/0", "redis+sentinel://u:***@h:1,h:2/main/0"),
        (
            f"rediss+sentinel://u:{WORD}@h:1/main/0?ssl_keyfile={WORD}",
            "rediss+sentinel://u:***@h:1/main/0?ssl_keyfile=***",
        ),
        (f"https://{WORD}@h/x", "https://***@h/x"),
        (f"https://u:{WORD}@h/x?{WORD}", "https://***@h/x?***"),
        (f"https://h/x?key={WORD}#{WORD}", "https://h/x?key=***"),
        (f"redis://u:a/{WORD}@h", "***"),
        (f"redis://u:a#{WORD}@h", "***"),
        (f"http://u:a b{WORD}@h", "***"),
        ("http://h:6333", "http://h:6333"),
        ("file:.local/storage", "file:.local/storage"),
    ],
)
def test_the_secrets_of_a_url_are_masked(url: str, shown: str) -> None:
    assert masked_url(url) == shown
    assert masked(SecretStr(url)) == (shown if "://" in url else "***")


@pytest.mark.requirement("Faults of others", "M9: no password, token or key of a URL or of Kafka's settings is shown")
def test_kafka_s_settings_are_masked_unless_they_are_harmless() -> None:
    given = {
        "sasl.oauthbearer.config": WORD,
        "sasl.oauthbearer.assertion.private.key.passphrase": WORD,
        "ssl.key.password": WORD,
        "ssl.key.pem": WORD,
        "plugin.library.paths": WORD,
        "linger.ms": "5",
        "debug": "broker",
    }
    assert masked(given) == {name: "***" if value == WORD else value for name, value in given.items()}


@pytest.mark.requirement("Faults of others", "M9: no password, token or key of a URL or of Kafka's settings is shown")
@pytest.mark.parametrize("field", [field for field in Settings.model_fields if field.endswith("_url")])
def test_a_password_in_a_url_that_errors_show_is_refused(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if Settings.model_fields[field].annotation in {SecretStr, SecretStr | None}:
        return  # it is for passwords
    for url in (f"https://u:{WORD}@h", f"http://h,https://{WORD}@h"):
        monkeypatch.setenv(setting_name(field), url)
        with pytest.raises(SettingsError, match="would be shown in errors"):
            load_settings.__wrapped__()


@pytest.mark.parametrize("url", ["http://h", "https://h:1/x", "http://[::1]:80"])
def test_a_url_is_kept_as_it_is(url: str) -> None:
    assert check_urls(url, ("http", "https")) == url


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the settings of the developer's shell away."""
    for name in os.environ:
        if name.startswith("STREAMS_"):
            monkeypatch.delenv(name)
