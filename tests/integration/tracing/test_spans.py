"""Spans of one worker, as a real OTLP receiver got them: for each way that an event may take."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from schemas import Event
from streams.codec import build_codec
from streams.observability.tracing import close_tracing
from streams.publishing import EventProducer, Outbox
from streams.topics import load_catalogue
from tests.integration.conftest import Stack, own_environment
from tests.support.apps.scheduled_trials import TOPIC
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested, Trial
from tests.support.cli import Commands
from tests.support.fakes.otlp_receiver import ReceivedSpan, Receiver, open_receiver
from tests.support.processes.worker_process import rows, wait_for
from tests.support.trial_fixtures import TrialRun, trials_running

SECTION = "Traces"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """The receiver of this file, over HTTP."""
    with open_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the worker's log."""
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="module")
def run(stack: Stack, template: str, receiver: Receiver, folder: Path) -> Iterator[TrialRun]:
    """One traced worker; this process, which publishes, is traced, too."""
    with own_environment(stack, template, folder) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in receiver.environment.items():
            patch.setenv(name, value)
        close_tracing()
        with trials_running({**environment, **receiver.environment}, folder) as running:
            yield running
        close_tracing()


def send(run: TrialRun, *events: Event) -> None:
    """Publish events one by one."""
    with EventProducer(run.settings, codec=build_codec(run.settings, load_catalogue(run.settings))) as producer:
        for event in events:
            producer.publish(event)


def add_to_outbox(run: TrialRun, event: Event, at: datetime | None = None) -> UUID:
    """Publish an event through the outbox. Returns its id, which contains the time of an event for later."""
    codec = build_codec(run.settings, load_catalogue(run.settings))
    with Session(run.engine) as session, session.begin():
        return Outbox(session, codec).publish(event, at=at)


def spans(receiver: Receiver, name: str, event: Trial | UUID, count: int) -> list[ReceivedSpan]:
    """Wait for this number of spans of an event and return them in the order of their start."""
    event_id = event if isinstance(event, UUID) else event.event_id

    def found() -> list[ReceivedSpan]:
        return receiver.named(name, event_id)

    wait_for(lambda: len(found()) >= count, f"{count} spans {name!r} of {event_id}")
    assert len(found()) == count, found()
    return found()


def operation(name: str) -> dict[str, str]:
    """Return the attributes that name the operation of a span."""
    return {"messaging.operation.name": name, "messaging.operation.type": name}


def linked(span: ReceivedSpan) -> set[str]:
    """Return the ids of the spans that a span has links to."""
    return {link.span_id for link in span.links}


@pytest.mark.requirement(SECTION, "`send` where an event is published, `process` for its attempt, statements below it")
def test_an_attempt_is_the_child_of_its_sender(run: TrialRun, receiver: Receiver) -> None:
    """One trace: the sender, the attempt with every attribute, and the statements of its transaction."""
    event = SingleTrialRequested(entity="a", tenant_id="tenant-of-the-trace")
    send(run, event)
    (row,) = run.ended(event)
    (sent,), (done,) = spans(receiver, "send", event, 1), spans(receiver, "process", event, 1)
    topic = load_catalogue(run.settings).of(SingleTrialRequested).name
    place = {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": str(row["partition"]),
        "messaging.kafka.offset": row["offset"],
        "messaging.message.id": str(event.event_id),
    }
    assert (sent.name, sent.kind, sent.parent_id, sent.attributes) == (
        f"send {topic}",
        "producer",
        "",
        {**place, **operation("send")},
    )
    assert (done.name, done.kind, done.parent_id) == (f"process {topic}", "consumer", sent.span_id)
    assert done.trace_id == sent.trace_id
    assert done.attributes == {
        **place,
        **operation("process"),
        "messaging.consumer.group.name": load_catalogue(run.settings).group("default"),
        "streams.handler": "try-single",
        "streams.attempt": 1,
        "streams.outcome": "success",
    }
    assert (done.failed, list(done.links), done.service) == (False, [], run.settings.application)
    wait_for(lambda: len(receiver.below(done)) >= 3, "the statements")
    texts = [str(one.attributes["db.statement"]) for one in receiver.below(done)]
    (insert,) = [text for text in texts if "insert into trials" in text]
    assert "%(event_id)s" in insert
    everything = b"".join(receiver.raw)
    assert b"tenant-of-the-trace" not in everything, "neither tenants nor parameters are in a span"


@pytest.mark.requirement(SECTION, "`settle` where an attempt fails; a retry stays in the trace, with a link")
def test_a_retry_stays_in_the_trace(run: TrialRun, receiver: Receiver) -> None:
    """Two failures, then success: three attempts below one sender, each with a link to the one before."""
    event = SingleTrialRequested(entity="r", plan="fail", times=2)
    send(run, event)
    run.ended(event)
    (sent,), attempts = spans(receiver, "send", event, 1), spans(receiver, "process", event, 3)
    assert {one.parent_id for one in attempts} == {sent.span_id}
    assert [one.attributes["streams.outcome"] for one in attempts] == ["retry", "retry", "success"]
    assert [one.attributes["streams.attempt"] for one in attempts] == [1, 2, 3]
    assert [one.attributes.get("error.type") for one in attempts] == ["ValueError", "ValueError", None]
    assert [one.failed for one in attempts] == [True, True, False]
    assert [linked(one) for one in attempts] == [set(), {attempts[0].span_id}, {attempts[1].span_id}]
    settled = spans(receiver, "settle", event, 2)
    assert [one.parent_id for one in settled] == [attempts[0].span_id, attempts[1].span_id]
    assert [one.attributes["streams.outcome"] for one in settled] == ["retry", "retry"]
    assert all(operation("settle").items() <= one.attributes.items() for one in settled)


@pytest.mark.requirement(SECTION, "a death, and a replay that continues the trace and has a link to the death")
def test_a_replay_continues_the_trace(run: TrialRun, receiver: Receiver) -> None:
    """The attempt after a replay is in the same trace, with a link to the `settle` of the death."""
    event = SingleTrialRequested(entity="d", plan="permanent", times=9)
    send(run, event)
    run.ended(event)
    (death,) = spans(receiver, "settle", event, 1)
    assert death.attributes["streams.outcome"] == "dead"
    assert death.attributes["error.type"] == "streams.delivery.Permanent"
    (letter,) = run.letters(event)
    run.streams.json("dlq", "replay", str(letter["id"]))
    first, again = spans(receiver, "process", event, 2)
    assert first.attributes["streams.outcome"] == "dead"
    assert again.trace_id == first.trace_id
    assert again.parent_id == first.parent_id
    assert linked(again) == {death.span_id}


@pytest.mark.requirement(SECTION, "a batch handler has one span with a link to each of its events")
def test_a_batch_has_a_link_to_each_event(run: TrialRun, receiver: Receiver) -> None:
    """Each event's sender has a link from exactly one successful attempt; some attempts have several."""
    events = [BatchTrialRequested(entity="b") for _ in range(40)]
    with EventProducer(run.settings, codec=build_codec(run.settings, load_catalogue(run.settings))) as producer:
        producer.publish_many(events)
    run.ended(*events)
    topic = load_catalogue(run.settings).of(BatchTrialRequested).name

    def attempts() -> list[ReceivedSpan]:
        return receiver.named(f"process {topic}")

    wait_for(lambda: sum(len(one.links) for one in attempts()) >= 40, "40 links")
    links = [link for one in attempts() for link in one.links]
    senders = {one.message_id: one.span_id for event in events for one in spans(receiver, "send", event, 1)}
    assert {str(link.attributes["messaging.message.id"]): link.span_id for link in links} == senders
    assert len(links) == 40
    assert len(attempts()) < 40
    assert {one.attributes["streams.outcome"] for one in attempts()} == {"success"}
    assert [one.attributes["messaging.batch.message_count"] for one in attempts()] == [
        len(one.links) for one in attempts()
    ]
    assert all(one.parent_id == one.links[0].span_id for one in attempts())


@pytest.mark.requirement(SECTION, "long work has a span for each step")
def test_long_work_has_a_span_for_each_step(run: TrialRun, receiver: Receiver) -> None:
    """Two steps below the attempt, with the statements of each below it."""
    event = LongTrialRequested(entity="l")
    send(run, event)
    run.ended(event)
    (done,) = spans(receiver, "process", event, 1)
    assert done.attributes["streams.outcome"] == "success"
    wait_for(lambda: [one.name for one in receiver.below(done)] == ["step", "step"], "two steps")
    for step in receiver.below(done):
        wait_for(
            lambda step=step: any(  # type: ignore[misc]  # mypy does not infer the default's type
                "insert into trials" in str(one.attributes.get("db.statement")) for one in receiver.below(step)
            ),
            "the statement of a step",
        )


@pytest.mark.requirement(SECTION, "the outbox: the context travels in the row")
def test_the_context_travels_in_the_outbox(run: TrialRun, receiver: Receiver) -> None:
    """The sender is the transaction that wrote the row, not the relay. There is no time of waiting."""
    event = SingleTrialRequested(entity="o")
    add_to_outbox(run, event)
    run.ended(event)
    (sent,), (done,) = spans(receiver, "send", event, 1), spans(receiver, "process", event, 1)
    assert done.parent_id == sent.span_id
    assert "streams.waited_seconds" not in done.attributes


@pytest.mark.requirement(SECTION, "an event for later says how long it waited")
def test_an_event_for_later_tells_how_long_it_waited(run: TrialRun, receiver: Receiver) -> None:
    """Published for two seconds later: its attempt is in the sender's trace."""
    event_id = add_to_outbox(run, SingleTrialRequested(entity="w"), datetime.now(tz=UTC) + timedelta(seconds=2))
    (sent,), (done,) = spans(receiver, "send", event_id, 1), spans(receiver, "process", event_id, 1)
    assert done.parent_id == sent.span_id
    assert 1.9 <= float(done.attributes["streams.waited_seconds"]) <= 12


@pytest.mark.requirement(SECTION, "a schedule's event says how long it waited since its slot")
def test_an_event_of_a_schedule_tells_how_long_it_waited(run: TrialRun, receiver: Receiver) -> None:
    """The clock of the worker is the sender."""
    run.streams.json("schedules", "add", "traced", "--event", TOPIC, "--args", '{"entity": "s"}', "--every", "1s")
    slots = "select event_id from streams.slots where schedule = 'traced' and event_id is not null"
    wait_for(lambda: rows(run.engine, slots), "a slot")
    run.streams.json("schedules", "pause", "traced")
    event_id = rows(run.engine, slots)[0]["event_id"]
    assert isinstance(event_id, UUID)
    (sent,), (done,) = spans(receiver, "send", event_id, 1), spans(receiver, "process", event_id, 1)
    assert done.parent_id == sent.span_id
    assert 0 <= float(done.attributes["streams.waited_seconds"]) <= 10


@pytest.mark.requirement(SECTION, "log lines carry `trace_id` and `span_id`")
def test_log_lines_have_the_ids(run: TrialRun, receiver: Receiver, folder: Path) -> None:
    """All lines of a delivery have its trace. What is logged within the attempt has the attempt's span."""
    event = SingleTrialRequested(entity="g", plan="log", times=9)
    send(run, event)
    run.ended(event)
    (done,) = spans(receiver, "process", event, 1)
    lines = [json.loads(line) for line in (folder / "worker.log").read_text().splitlines() if line.startswith("{")]
    found = [line for line in lines if line.get("event_id") == str(event.event_id)]
    assert {line["trace_id"] for line in found} == {done.trace_id}
    assert [line["span_id"] for line in found if line["message"] == "the trial permits nothing"] == [done.span_id]


LINKED = "`executions show` and `dlq show` print the trace id and a link"


@pytest.mark.requirement(SECTION, LINKED)
def test_commands_show_the_trace(run: TrialRun, receiver: Receiver) -> None:
    event = SingleTrialRequested(entity="c", plan="permanent", times=9)
    send(run, event)
    run.ended(event)
    (sent,) = spans(receiver, "send", event, 1)
    (letter,) = run.letters(event)
    for arguments in (("executions", "show", str(event.event_id)), ("dlq", "show", str(letter["id"]))):
        shown = run.streams.json(*arguments)
        found = shown[0] if isinstance(shown, list) else shown
        assert isinstance(found, dict)
        assert found["trace_id"] == sent.trace_id
        assert found["trace_url"] is None


@pytest.mark.requirement(SECTION, LINKED)
def test_the_ledger_has_the_trace_of_each_delivery(run: TrialRun, receiver: Receiver) -> None:
    """Of each kind of handler, after success and after a retry: no record is read, so Kafka may be away."""
    events: list[Trial] = [
        SingleTrialRequested(entity="k"),
        SingleTrialRequested(entity="k2", plan="fail", times=1),
        BatchTrialRequested(entity="k"),
        LongTrialRequested(entity="k"),
        LongTrialRequested(entity="k2", plan="fail", times=1),
    ]
    send(run, *events)
    run.ended(*events)
    away = Commands({**run.streams.environment, "STREAMS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    away.environment["STREAMS_TRACE_URL"] = "https://traces.example/{trace_id}"
    for event in events:
        (sent,) = spans(receiver, "send", event, 1)
        (shown,) = away.rows("executions", "show", str(event.event_id))
        assert (shown["trace_id"], shown["trace_url"]) == (sent.trace_id, f"https://traces.example/{sent.trace_id}")
        (row,) = rows(run.engine, f"select trace_id from streams.executions where trace_id = '{sent.trace_id}'")
        assert isinstance(row["trace_id"], UUID)
