"""Sentry's own variables: each value is accepted by the SDK too, or is one line that does not repeat it."""

import re
from importlib import util
from importlib.machinery import ModuleSpec

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentry_sdk.utils import BadDsn, Dsn

from streams.settings import SettingsError, load_sentry_settings
from streams.settings import sentry as sentry_settings
from streams.settings.sentry import SentrySettings, is_dsn, load_sentry
from tests.support.pages import page

DSN = "https://0123456789abcdef@sentry.example.org/42"
GOOD = (DSN, "http://key:secret@127.0.0.1:9000/some/path/1", "https://key@o1.ingest.example.org:443/4505")
BAD = (
    "x", " ", "garbage", "https://sentry.example.org/42", "https://key@/42", "https://key@host/", "https://key@host/x",
    "https://key@host", "ftp://key@host/1", "//key@host/1", "https://key@host:0/1", "https://key@host:99999/1",
    "https://key@host:x/1", "https://key@[::1/1", "https://key@host/1?a=b", "https://key@host/1#a",
    "https://k y@host/1", "https://key@host/1\n", "https://key@host/²", "https://ключ@host/1", "https://key@host/-1",
    f"https://{'k' * 2_000}@h/1",
)  # fmt: skip


@pytest.mark.parametrize("dsn", GOOD)
def test_a_dsn_is_accepted(dsn: str) -> None:
    settings = load_sentry({"SENTRY_DSN": dsn})
    assert settings is not None
    assert settings.dsn.get_secret_value() == dsn
    assert (settings.environment, settings.release) == ("production", "")
    assert dsn not in repr(settings)
    Dsn(dsn)


@pytest.mark.requirement("Bad input", "a wrong DSN is one clear line at start, and a non-zero exit code")
@pytest.mark.parametrize("dsn", BAD)
def test_anything_else_is_one_line_that_does_not_repeat_it(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRY_DSN", dsn)
    with pytest.raises(SettingsError, match=r"^SENTRY_DSN: this is not a DSN") as found:
        load_sentry_settings()
    assert str(found.value).isprintable()
    assert len(dsn) < 3 or dsn not in str(found.value)


@given(
    dsn=st.text(max_size=60)
    | st.lists(st.sampled_from(["http", "s", "://", "key", ":", "@", "host", "/", "42", "?", "#", "[", " ", "0"])).map(
        "".join
    )
)
def test_what_is_accepted_is_a_dsn_for_the_sdk(dsn: str) -> None:
    if is_dsn(dsn):
        try:
            Dsn(dsn)
        except (BadDsn, ValueError) as error:
            raise AssertionError(dsn) from error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("SENTRY_ENVIRONMENT", value) for value in ("a b", "a/b", "a\nb", "x" * 65, "None", "\x1b")),
        *(("SENTRY_RELEASE", value) for value in ("a/b", "a\\b", "a\nb", "x" * 201, "..")),
    ],
)
def test_names_that_sentry_would_discard_are_one_line(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: Sentry takes at most") as found:
        load_sentry({"SENTRY_DSN": DSN, name: value})
    assert str(found.value).isprintable()


@pytest.mark.requirement("Sentry", "without a DSN nothing of the SDK is loaded")
@pytest.mark.parametrize("environment", [{}, {"SENTRY_DSN": ""}, {"SENTRY_ENVIRONMENT": "a b"}])
def test_without_a_dsn_there_are_no_settings(environment: dict[str, str]) -> None:
    assert load_sentry(environment) is None


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == "sentry_sdk" else util.find_spec(name)

    monkeypatch.setattr(sentry_settings, "find_spec", find)
    with pytest.raises(ValueError, match=r"^SENTRY_DSN: .*event-streams\[sentry\]"):
        load_sentry({"SENTRY_DSN": DSN})


def test_each_setting_is_on_its_page() -> None:
    rows = re.findall(
        r"^\| `SENTRY_(\w+)` \| (?:`([^`]*)`)? *\|", page("docs/reference/settings-observability.md").text, re.MULTILINE
    )
    defaults = {
        name: field.get_default() for name, field in SentrySettings.model_fields.items() if not field.is_required()
    }
    assert {name.lower(): default for name, default in rows} == {"dsn": "", **defaults}
