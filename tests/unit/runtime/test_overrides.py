"""Overrides in an operator's TOML file: what they change, and what is rejected."""

from pathlib import Path

import pytest

from schemas import DocumentDeleted, Event
from streams.delivery import Backoff, Handler, Work, handles
from streams.runtime.overrides import (
    OverridesError,
    apply_to_handlers,
    apply_to_pools,
    apply_to_topics,
    concurrency_limits,
    load_overrides,
)
from streams.topics import BUILT_IN, POOLS


@handles(DocumentDeleted, retry=Backoff(first="10s", factor=2, attempts=4), soft_time_limit="30s", time_limit="60s")
async def clean_document(event: DocumentDeleted, work: Work) -> None:
    """A handler to be overridden."""


def written(folder: Path, text: str) -> Path:
    path = folder / "overrides.toml"
    path.write_text(text, encoding="utf-8")
    return path


def handlers() -> list[Handler[Event]]:
    return [clean_document]


def test_without_a_file_everything_stays_as_declared() -> None:
    """No STREAMS_OVERRIDES: the same handlers and topics."""
    nothing = load_overrides(None)
    assert apply_to_topics(BUILT_IN, nothing) == list(BUILT_IN)
    (handler,) = apply_to_handlers(handlers(), nothing)
    assert (handler.retry, handler.soft_time_limit, handler.time_limit) == (clean_document.retry, 30.0, 60.0)


def test_a_handler_takes_what_is_given_and_keeps_the_rest(tmp_path: Path) -> None:
    """Durations are texts; fields of the retry plan that are left out stay."""
    path = written(
        tmp_path,
        """
        [handlers.clean-document]
        retry = { attempts = 9, jitter = 0 }
        time_limit = "5m"
        concurrency = 2
        """,
    )
    overrides = load_overrides(path)
    (handler,) = apply_to_handlers(handlers(), overrides)
    assert handler.retry == Backoff(first="10s", factor=2, attempts=9, limit="1h", jitter=0.0)
    assert (handler.soft_time_limit, handler.time_limit) == (30.0, 300.0)
    assert handler.function is clean_document.function
    assert concurrency_limits(overrides) == {"clean-document": 2}


@pytest.mark.requirement(
    "Delivery",
    "pools' own concurrency, prefetch and connections; `low` saturated leaves `high` as it was",
)
def test_a_pool_takes_its_sizes_and_the_others_keep_theirs(tmp_path: Path) -> None:
    """What is left out stays, and a pool that does not exist is refused."""
    overrides = load_overrides(written(tmp_path, "[pools.low]\nconcurrency = 9\nconnections = 3"))
    changed = {pool.name: pool for pool in apply_to_pools(POOLS, overrides)}
    declared = {pool.name: pool for pool in POOLS}
    low = changed["low"]
    assert (low.concurrency, low.prefetch, low.connections) == (9, declared["low"].prefetch, 3)
    assert changed["high"] == declared["high"]
    with pytest.raises(OverridesError, match="pools"):
        load_overrides(written(tmp_path, "[pools.lower]\nconcurrency = 9"))


def test_a_topic_takes_pool_and_partitions(tmp_path: Path) -> None:
    """The other topics stay."""
    path = written(tmp_path, '[topics."document.deleted"]\npool = "high"\npartitions = 12\n')
    topics = {topic.name: topic for topic in apply_to_topics(BUILT_IN, load_overrides(path))}
    assert (topics["document.deleted"].pool, topics["document.deleted"].partitions) == ("high", 12)
    unchanged = [topic for topic in BUILT_IN if topic.name != "document.deleted"]
    assert [topics[topic.name] for topic in unchanged] == unchanged


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[handlers.clean-document]\ntimelimit = '1s'", "handlers.clean-document.timelimit: there is no such field"),
        ("[handlers.clean-document.retry]\nfist = '1s'", "handlers.clean-document.retry.fist: there is no such"),
        ("[handlers.clean-document.retry]\nfirst = 'soon'", "'soon' is not a duration"),
        ("[handlers.clean-document]\nconcurrency = 0", "handlers.clean-document.concurrency"),
        ("[handlers.clean-document]\ntime_limit = '0s'", "handlers.clean-document.time_limit"),
        ("[topics.'document.deleted']\npool = 'urgent'", "topics.document.deleted.pool"),
        ("[topics.'document.deleted']\npartitions = 0", "topics.document.deleted.partitions"),
        ("[handler.clean-document]", "handler: there is no such field"),
        ("[handlers", "is not TOML"),
    ],
)
def test_an_invalid_file_is_rejected_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    """The line names the variable, the file and the place in it."""
    path = written(tmp_path, text)
    with pytest.raises(OverridesError) as refused:
        load_overrides(path)
    line = str(refused.value)
    assert line.startswith(f"STREAMS_OVERRIDES: {path}")
    assert expected in line
    assert "\n" not in line


def test_a_missing_file_is_rejected(tmp_path: Path) -> None:
    """A missing file must not count as no overrides."""
    with pytest.raises(OverridesError, match=r"STREAMS_OVERRIDES: .*none\.toml: No such file"):
        load_overrides(tmp_path / "none.toml")


def test_unknown_names_are_rejected_with_the_known_ones(tmp_path: Path) -> None:
    """Otherwise a typo in a name would silently change nothing."""
    overrides = load_overrides(written(tmp_path, "[handlers.clean-dokument]\n[topics.'document.delted']\n"))
    with pytest.raises(OverridesError, match="no handler 'clean-dokument'; there are: clean-document"):
        apply_to_handlers(handlers(), overrides)
    with pytest.raises(OverridesError, match=r"no topic 'document\.delted'; did you mean document\.deleted"):
        apply_to_topics(BUILT_IN, overrides)


def test_a_soft_limit_above_the_hard_one_is_rejected(tmp_path: Path) -> None:
    """Even if only one of them comes from the file."""
    overrides = load_overrides(written(tmp_path, "[handlers.clean-document]\ntime_limit = '10s'\n"))
    with pytest.raises(OverridesError, match=r"clean-document: the soft time limit \(30 s\) is over the hard one"):
        apply_to_handlers(handlers(), overrides)
