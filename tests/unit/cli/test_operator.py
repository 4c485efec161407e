"""The note of who runs a command."""

import getpass
import os

import pytest

from streams.cli.operator import LONGEST_NOTE, operator_note


def test_a_note_names_the_account_the_host_and_the_command() -> None:
    note = operator_note("dlq", "replay", "--all", reason="exhausted", topic=None)
    assert note.startswith(f"{getpass.getuser()}@")
    assert note.endswith(": streams dlq replay --all --reason exhausted")


def test_an_account_without_a_name_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs with any user id."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert operator_note("dlq", "replay").startswith(f"uid {os.getuid()}@")


def test_a_long_command_is_cut() -> None:
    assert len(operator_note("dlq", "replay", *(["id"] * 5000))) == LONGEST_NOTE
