"""The event in the ledger's row: readable, limited in size, accepted by PostgreSQL."""

import json
from dataclasses import replace

import pytest

from schemas import Event
from streams.delivery.ledger.columns import ARGS_LIMIT, LONG_TEXT, args_json
from tests.support.factories import a_delivery


class NoteTaken(Event):
    """An event of any size."""

    title: str
    body: str = ""
    parts: tuple[dict[str, str], ...] = ()


def args(event: Event) -> dict[str, object]:
    shown = json.loads(args_json(replace(a_delivery(), event=event)))
    assert isinstance(shown, dict)
    return shown


def test_a_small_event_is_stored_whole() -> None:
    shown = args(NoteTaken(title="t", body="b" * (LONG_TEXT + 1)))
    assert shown["body"] == "b" * (LONG_TEXT + 1)


def test_each_long_text_of_a_large_event_is_cut() -> None:
    """Short fields stay whole, so that the event can be identified."""
    long = "é" * ARGS_LIMIT
    shown = args(NoteTaken(title="short", body=long, parts=({"name": "first", "text": long},)))
    cut = f"{long[:LONG_TEXT]}… ({ARGS_LIMIT} characters)"
    assert (shown["title"], shown["body"]) == ("short", cut)
    assert shown["parts"] == [{"name": "first", "text": cut}]


@pytest.mark.parametrize("size", [1, ARGS_LIMIT])
def test_a_nul_character_is_replaced(size: int) -> None:
    """PostgreSQL rejects NUL characters in JSON."""
    shown = args(NoteTaken(title="a\x00b", body="x" * size))
    assert shown["title"] == "a\ufffdb"
