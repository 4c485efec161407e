"""Records of a tier whose headers name a topic that does not exist: they are dead letters in a DLQ that does.

Expected: the offset moves on, a valid record behind them is done, and the dead letters keep key, value, headers and the
topic that they claim.
"""

import pytest

from streams import headers
from streams.codec import build_codec
from streams.delivery import Work, handles
from streams.delivery.delivery import now_ms
from streams.delivery.settlement.dead_letters.dead_letter import DeadLetters
from streams.headers import Headers
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from streams.transport.kafka.records import Record, to_record
from tests.support.apps.trials import SingleTrialRequested
from tests.support.delivery_engine import open_bench
from tests.support.factories import CATALOGUE, SETTINGS
from tests.support.kafka_records import end_offsets, read_all
from tests.support.local_stack.cluster import topic_names
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
FORGED = ("no.such.topic", "no.such.topic.dlq", "..", "document.deleted.streams.dlq")


def retry_headers(topic: str) -> Headers:
    """Return the headers of a retry record that is due and claims to come from a topic."""
    known = {headers.HANDLER: "single", headers.SEQ: 1, headers.ATTEMPT: 1, headers.DUE_AT: 0}
    origin = {headers.ORIGIN_TOPIC: topic, headers.ORIGIN_PARTITION: 7, headers.ORIGIN_OFFSET: 77}
    return tuple((name, str(value).encode()) for name, value in (known | origin).items())


@pytest.mark.requirement("Faults of others", "a retry record of a topic that does not exist is a dead letter")
async def test_a_forged_origin_is_a_dead_letter_in_a_dlq_that_exists(trial: Settings) -> None:
    """The pool has one event topic. Its DLQ gets them."""
    done: list[str] = []

    async def note(event: SingleTrialRequested, _work: Work) -> None:
        """Note the event."""
        done.append(event.entity)

    async with open_bench(trial, handles(SingleTrialRequested, name="single")(note)) as bench:
        catalogue = bench.context.catalogue
        tier, dlq = catalogue.tier("default", 0.0), catalogue.dlq(catalogue.fallback("default").name)
        valid = bench.record(SingleTrialRequested(entity="valid"), 0)
        sent = [
            Record(tier, 0, offset, now_ms(), "CreateTime", b"key", b"\x00value", (("a", b"b"), *retry_headers(topic)))
            for offset, topic in enumerate((*FORGED, catalogue.of(SingleTrialRequested).name))
        ]
        sent[-1] = Record(tier, 0, len(FORGED), now_ms(), "CreateTime", valid.key, valid.value, sent[-1].headers)
        await bench.settled(bench.feed_records(sent, tier_delay=0.0))
        assert done == ["valid"]
        letters = [to_record(message) for message in read_all(trial, dlq, len(FORGED))]
        index = await bench.query('select topic, partition, "offset", reason, dlq_topic from streams.dead_letters')
    assert {headers.last_text(letter.headers, headers.DLQ_TOPIC) for letter in letters} == set(FORGED)
    for letter in letters:
        assert (letter.key, letter.value) == (b"key", b"\x00value")
        assert ("a", b"b") in letter.headers
    assert {(row["topic"], row["partition"], row["offset"]) for row in index} == {(topic, 7, 77) for topic in FORGED}
    assert {(row["reason"], row["dlq_topic"]) for row in index} == {("unknown-handler", dlq)}
    assert end_offsets(trial, dlq) == len(FORGED)
    assert not [name for name in topic_names(trial.kafka_bootstrap_servers) if "no.such" in name]


@pytest.mark.parametrize("name", ["document.deleted", "acme.document.deleted"])
def test_a_name_without_the_prefix_has_the_dlq_with_it(name: str) -> None:
    """The catalogue knows a topic by both names, and only one DLQ exists."""
    catalogue = Catalogue(BUILT_IN, Settings(topic_prefix="acme."))
    letters = DeadLetters(build_codec(SETTINGS, CATALOGUE), catalogue, "group", catalogue.fallback("low").name)
    assert letters.topic(name) == "acme.document.deleted.streams.dlq"
