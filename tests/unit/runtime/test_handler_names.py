"""The names that a process without the handlers' libraries learns from a process that imports them."""

import json
import sys

import pytest

from streams.agents.built_in import HANDLERS
from streams.runtime import handler_names
from streams.runtime.handler_names import DeclaredNames, HandlerNames
from streams.settings import load_settings
from tests.support.processes.worker_process import wait_for


def printed(capsys: pytest.CaptureFixture[str]) -> DeclaredNames:
    """Return what the process prints."""
    load_settings.cache_clear()
    handler_names.main()
    load_settings.cache_clear()
    found = json.loads(capsys.readouterr().out)
    return DeclaredNames(frozenset(found["handlers"]), frozenset(found["topics"]))


def test_a_topic_counts_as_read_once_a_package_has_a_handler_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built_in = printed(capsys)
    assert built_in.handlers == {handler.name for handler in HANDLERS}
    assert "document.deleted" in built_in.topics
    assert built_in.topics.isdisjoint({"tenant.created", "tenant.updated"})
    monkeypatch.setenv("STREAMS_HANDLERS", "credential_sync")
    extended = printed(capsys)
    assert extended.topics - built_in.topics == {"tenant.created"}


def test_every_topic_counts_as_read_if_the_handlers_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic whose lag is not reported could not raise an alert."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    names = HandlerNames(frozenset({"document.deleted", "tenant.created"}))
    assert names.known is None
    names.start()
    wait_for(lambda: names.known is not None, "the process to end")
    assert names.known == DeclaredNames(frozenset(), frozenset({"document.deleted", "tenant.created"}))
