"""Dead letters and failures of the engine in Sentry: a real worker, and a server that takes envelopes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from streams.observability.tracing import trace_of
from streams.runtime.declarations import build_catalogue
from streams.schema_registry.export import export
from streams.settings import Settings
from tests.support.apps import letters
from tests.support.apps.letters import InvitationRequested, Recipient
from tests.support.fakes.sentry_server import KEY, Refusal, SentryServer, sentry_server
from tests.support.processes.worker_process import WorkerProcess, free_port, publish, rows, scalar, wait_for

MakeWorker = Callable[..., WorkerProcess]
CODE, MAIL, BORN = "493817", "ada.lovelace@example.org", "1815-12-10"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The test's settings, with the invitation topic for every process."""
    registry = tmp_path / "registry"
    export(build_catalogue(Settings(handlers=(letters.__name__,))), registry)
    return {
        **environment,
        "STREAMS_HANDLERS": letters.__name__,
        "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}",
    }


@pytest.fixture
def sentry() -> Iterator[SentryServer]:
    with sentry_server() as server:
        yield server


def letter(plan: str) -> InvitationRequested:
    return InvitationRequested.model_validate(
        {
            "letter_id": f"letter-{plan}",
            "code": CODE,
            "recipients": [Recipient(mail=MAIL)],
            "born": BORN,
            "plan": plan,
            "tenant_id": "t1",
        }
    )


def dead_letters(engine: Engine) -> int:
    found = scalar(engine, "select count(*) from streams.dead_letters")
    assert isinstance(found, int)
    return found


def by_tag(sentry: SentryServer, **tags: str) -> list[dict[str, Any]]:
    return [event for event in sentry.events if tags.items() <= event["tags"].items()]


@pytest.mark.requirement("Sentry", "one event for each death, grouped, with its attempts, masked; the others counted")
@pytest.mark.requirement("Sentry", "one event for each failure of the engine itself")
@pytest.mark.usefixtures("topics")
def test_deaths_and_failures_of_the_engine_are_events(
    worker: MakeWorker, settings: Settings, engine: Engine, sentry: SentryServer
) -> None:
    """Three kinds of deaths are three events, masked, with their trace. The fourth is of a known kind: counted."""
    one = worker(SENTRY_DSN=sentry.dsn, SENTRY_ENVIRONMENT="trial", STREAMS_POOLS="high").start()
    with trace_of(f"00-{TRACE}-00f067aa0ba902b7-01".encode()):
        publish(settings, [letter("die"), letter("die in sql"), letter("retry")])
    wait_for(lambda: dead_letters(engine) == 4 and len(sentry.events) == 3, "the deaths and their events")
    with engine.begin() as connection:
        connection.exec_driver_sql("alter table streams.outbox rename to gone")
    (failure,) = wait_for(lambda: by_tag(sentry, kind="engine"), "the failure of the relay")
    with engine.begin() as connection:
        connection.exec_driver_sql("alter table streams.gone rename to outbox")
    assert one.stop() == 0

    assert len(by_tag(sentry, kind="engine")) == 1, "a failing on_dead is the handler's, and is no event"
    assert failure["logger"] == "streams.publishing.outbox.relay"
    assert "UndefinedTable" in failure["exception"]["values"][-1]["type"] or "ProgrammingError" in str(failure)
    (permanent,) = by_tag(sentry, handler="invite", reason="permanent")
    (exhausted,) = by_tag(sentry, handler="invite", reason="exhausted")
    (noted,) = by_tag(sentry, handler="note")
    for death in (permanent, exhausted, noted):
        assert death["tags"]["topic"] == f"{settings.topic_prefix}invitation.requested"
        assert death["tags"]["tenant_id"] == "t1"
        assert (death["environment"], death["release"]) == ("trial", "event-streams@0.1.0")
        assert death["contexts"]["trace"]["trace_id"] == TRACE
    assert [crumb["data"]["attempt"] for crumb in exhausted["breadcrumbs"]["values"]] == [1, 2, 3]
    assert exhausted["contexts"]["streams"]["attempts"] == 3
    cause, last = permanent["exception"]["values"]
    assert (cause["type"], cause["value"]) == ("ValueError", "no ***")
    assert (last["type"], last["value"]) == ("streams.delivery.Permanent", "the code *** of *** is not valid")
    assert last["stacktrace"]["frames"][-1]["function"] == "invite"
    sent = b"".join(sentry.envelopes)
    assert [value for value in (CODE, MAIL, BORN) if value.encode() in sent] == []
    assert b'"vars"' not in sent
    assert all(KEY in key for key in sentry.keys)

    (dead,) = rows(
        engine, "select error_message from streams.dead_letters where handler = 'invite' and reason = 'permanent'"
    )
    assert last["value"] == dead["error_message"]
    left_out = [line for line in one.lines() if str(line["message"]).startswith("failures were not sent to Sentry")]
    assert sum(int(str(line["failures"])) for line in left_out) >= 1


@pytest.mark.requirement("Sentry", "an exception while the worker opens its resources is an event")
@pytest.mark.usefixtures("topics")
def test_what_prevents_the_start_is_an_event(worker: MakeWorker, engine: Engine, sentry: SentryServer) -> None:
    """The pauses cannot be read, which is neither an outage nor a right that is missing."""
    columns = "'' as kind, (1 / (random() * 0)::int)::text as name, now() as since, '' as paused_by"
    with engine.begin() as connection:
        connection.exec_driver_sql("alter table streams.pauses rename to gone")
        connection.exec_driver_sql(f"create view streams.pauses as select {columns}")
    one = worker(SENTRY_DSN=sentry.dsn, STREAMS_POOLS="high").start(ready=False)
    assert one.wait(60) != 0
    (event,) = sentry.events
    assert (event["tags"]["kind"], event["logger"], event["level"]) == ("engine", "streams.runtime", "fatal")
    assert "division by zero" in event["exception"]["values"][-1]["value"]


@pytest.mark.requirement("Sentry", "Sentry away or hanging never slows a worker nor its stop")
@pytest.mark.parametrize("fault", ["silent", "away"])
@pytest.mark.usefixtures("topics")
def test_a_worker_does_its_work_and_stops_without_sentry(
    fault: str, worker: MakeWorker, settings: Settings, engine: Engine, sentry: SentryServer
) -> None:
    """Nothing waits for Sentry but the end of the process, for two seconds."""
    sentry.always = Refusal(silent=True)
    port = sentry.port if fault == "silent" else free_port()
    one = worker(SENTRY_DSN=f"http://{KEY}@127.0.0.1:{port}/42", STREAMS_POOLS="high").start()
    publish(settings, [letter("die")])
    wait_for(lambda: dead_letters(engine) == 2, "the deaths")
    began = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - began < 15
    told = {str(line["message"]) for line in one.lines()}
    expected = "Sentry did not take the last events in time" if fault == "silent" else "events for Sentry were lost"
    assert expected in told


@pytest.mark.requirement("Bad input", "a wrong DSN is one clear line at start, and a non-zero exit code")
@pytest.mark.parametrize(
    ("name", "value"), [("SENTRY_DSN", "https://sentry.example.org/1"), ("SENTRY_ENVIRONMENT", "my trial")]
)
def test_a_wrong_setting_of_sentry_is_one_line(name: str, value: str, worker: MakeWorker) -> None:
    one = worker(**{"SENTRY_DSN": f"https://{KEY}@sentry.example.org/1", name: value}).start(ready=False)
    assert one.wait(60) != 0
    (line,) = [line for line in one.output().splitlines() if name in line]
    assert "Traceback" not in one.output()
    assert value not in line
