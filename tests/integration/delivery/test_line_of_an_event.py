"""The page on the way of an event names the functions that an event passes, in their order.

An event runs through the real engine while Python reports each function that is called.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

import pytest

from streams.delivery import Work, handles
from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.delivery_engine import open_bench
from tests.support.pages import ROOT, page
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]

PAGE = "docs/explanation/line-of-an-event.md"
PICTURE = ROOT / "docs" / "pictures" / "line-of-an-event.svg"
MOST_STATIONS, MOST_FOLDERS = 12, 6
FED_BY_THE_TEST = 4
"""Stations before the engine: the transport's own tests run them against a broker."""


def stations() -> list[str]:
    """The functions of the page's table, in order."""
    return re.findall(r"^\| \d+ \| `([\w.]+)` \|", page(PAGE).text, re.MULTILINE)


def function(path: str) -> Callable[..., object]:
    """The function at a dotted path."""
    module, owner, name = path.rsplit(".", 2)
    found: Callable[..., object] = getattr(getattr(importlib.import_module(module), owner), name)
    return found


@pytest.mark.requirement(
    "Source tree and packaging",
    "at most 12 stations in 6 folders from poll to settled, each folder entered once",
)
def test_there_are_few_stations_and_each_folder_is_entered_once() -> None:
    folders = [path.rsplit(".", 3)[0] for path in stations()]
    entered = [folder for place, folder in enumerate(folders) if place == 0 or folders[place - 1] != folder]

    assert 0 < len(folders) <= MOST_STATIONS
    assert len(entered) == len(set(entered)) <= MOST_FOLDERS


def test_each_station_leads_to_the_next_before_the_engine() -> None:
    """The poll loop, the conductor and the agent name what they call; brokers drive them in the transport's tests."""
    poll, deliver, put_chunk, consume = stations()[:FED_BY_THE_TEST]

    assert "self._deliver" in inspect.getsource(function(poll))
    assert "self._on_chunk(" in inspect.getsource(function(deliver))
    consumer = importlib.import_module("streams.transport.faust.consumer")
    assert "on_chunk=conductor.put_chunk" in inspect.getsource(consumer)
    assert "channel.queue" in inspect.getsource(function(put_chunk))
    assert "async for chunk in chunks" in inspect.getsource(function(consume))


@pytest.mark.requirement(
    "Source tree and packaging",
    "a page with a picture walks an event through its functions, and is held to the code",
)
def test_the_picture_has_the_stations() -> None:
    drawn = re.findall(r">\d+ ([\w.]+)</text>", PICTURE.read_text(encoding="utf-8"))

    assert drawn == [".".join(path.rsplit(".", 2)[1:]) for path in stations()]


@pytest.mark.requirement(
    "Source tree and packaging",
    "a page with a picture walks an event through its functions, and is held to the code",
)
@pytest.mark.parametrize("fails", [False, True])
async def test_an_event_passes_the_stations_in_their_order(trial: Settings, *, fails: bool) -> None:
    """The last one only where the attempt fails."""

    @handles(SingleTrialRequested, name="walk")
    async def walk(_event: SingleTrialRequested, _work: Work) -> None:
        if fails:
            raise RuntimeError

    wanted = stations()[FED_BY_THE_TEST:]
    async with open_bench(trial, walk) as bench:
        with calls_of(wanted) as called:
            await bench.settled(bench.feed(SingleTrialRequested(entity="e")))

    assert list(dict.fromkeys(called)) == (wanted if fails else wanted[:-1])


@contextmanager
def calls_of(paths: list[str]) -> Iterator[list[str]]:
    """The calls of these functions, in order, while the block runs."""
    codes: dict[CodeType, str] = {}
    for path in paths:
        code = inspect.unwrap(function(path)).__code__
        codes[code] = path
    called: list[str] = []

    def note(frame: FrameType, kind: str, _argument: object) -> None:
        if kind == "call" and frame.f_code in codes:
            called.append(codes[frame.f_code])

    former = sys.getprofile()
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(former)
