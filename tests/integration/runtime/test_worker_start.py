"""`faust -A streams worker` from start to end: start errors, pages, logs, other Faust commands."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from schemas import DocumentDeleted, DocumentIndexCreated, MessageCreated, TenantUpdated
from streams.operations.lag import group_lag
from streams.runtime.declarations import build_handlers, topics_to_read
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.cli import Commands
from tests.support.processes.preloaded import BIN
from tests.support.processes.worker_process import ROOT, WorkerProcess, free_port, publish, rows, scalar, wait_for

MakeWorker = Callable[..., WorkerProcess]


def refusal(one: WorkerProcess) -> str:
    """Return the one error line of a worker that did not start, after it ended with the right exit code."""
    assert one.start(ready=False).wait(40) == 1, one.output()
    critical = [line for line in one.lines() if line["level"] == "critical"]
    assert len(critical) == 1, one.output()
    assert "Traceback" not in one.output()
    return str(critical[0]["message"])


@pytest.mark.requirement("Bad input", "a worker that may not start says why in one line and ends with 1")
@pytest.mark.usefixtures("settings")
def test_no_kafka_is_one_line_that_names_the_setting(worker: MakeWorker) -> None:
    error = refusal(worker(STREAMS_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", STREAMS_KAFKA_REQUEST_TIMEOUT="2s"))
    assert "127.0.0.1:1" in error
    assert "STREAMS_KAFKA_BOOTSTRAP_SERVERS" in error


@pytest.mark.requirement("Bad input", "a worker that may not start says why in one line and ends with 1")
@pytest.mark.usefixtures("topics")
def test_no_database_is_one_line_that_names_the_setting_and_hides_the_password(worker: MakeWorker) -> None:
    error = refusal(worker(STREAMS_DATABASE_URL=f"postgresql://me:secret@127.0.0.1:{free_port()}/x"))
    assert "STREAMS_DATABASE_URL" in error
    assert "secret" not in error


@pytest.mark.requirement("Bad input", "a worker that may not start says why in one line and ends with 1")
@pytest.mark.usefixtures("topics")
def test_no_vector_store_is_one_line_that_names_the_setting(worker: MakeWorker) -> None:
    error = refusal(worker(STREAMS_VECTOR_STORE="weaviate", STREAMS_WEAVIATE_URL=f"http://127.0.0.1:{free_port()}"))
    assert error.startswith("Weaviate: ")
    assert "STREAMS_WEAVIATE_URL" in error


@pytest.mark.requirement(
    "The whole domain",
    "At start a worker checks the catalogue: every handler's topic exists, in exactly one pool, partitions match",
)
@pytest.mark.usefixtures("topics")
def test_a_handler_without_a_topic_is_one_line_that_names_it(worker: MakeWorker) -> None:
    error = refusal(worker(STREAMS_HANDLERS="tests.support.apps.orphans"))
    assert "handler send-invoice: its event class OrderPaid has no topic" in error


@pytest.mark.requirement("Bad input", "a worker that may not start says why in one line and ends with 1")
@pytest.mark.usefixtures("topics")
def test_a_database_without_our_schema_is_one_line_that_says_what_to_run(worker: MakeWorker, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("drop schema streams cascade")
    assert "streams db upgrade" in refusal(worker())


@pytest.mark.requirement("Faults of others", "doctor: a worker refuses to start without a column of its handlers")
@pytest.mark.usefixtures("topics")
def test_a_platform_without_a_column_is_one_line_that_names_it(worker: MakeWorker, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("alter table documents drop column word_count")
        connection.exec_driver_sql("drop table child_chunks")
    error = refusal(worker())
    assert "child_chunks" in error
    assert "1 more: streams doctor" in error


@pytest.mark.requirement("Bad input", "a worker that may not start says why in one line and ends with 1")
@pytest.mark.usefixtures("settings")
def test_missing_topics_are_one_line_that_names_one_and_what_to_run(worker: MakeWorker, settings: Settings) -> None:
    error = refusal(worker())
    assert f"{settings.topic_prefix}document.index-requested" in error
    assert "streams topics apply" in error


@pytest.mark.requirement("Bad input", "a worker that may not start says why in one line and ends with 1")
@pytest.mark.usefixtures("topics")
def test_other_partitions_than_declared_are_one_line(worker: MakeWorker) -> None:
    error = refusal(worker(STREAMS_PARTITIONS="7"))
    assert "has 2 partitions, but 7 are declared" in error
    assert "streams topics apply" in error


@pytest.mark.requirement("Bad input", "a worker that may not start says why in one line and ends with 1")
def test_a_wrong_setting_is_named(worker: MakeWorker) -> None:
    one = worker(STREAMS_POOLS="high,urgent").start(ready=False)
    assert one.wait(40) != 0
    assert "STREAMS_POOLS" in one.output()


@pytest.mark.requirement("Logs and metrics", "the pages of a running worker, and its log")
@pytest.mark.usefixtures("topics")
def test_a_worker_is_ready_measured_and_ends_with_code_0(
    worker: MakeWorker, settings: Settings, engine: Engine
) -> None:
    """Pages answer, metrics use the lag names of kafka_exporter, and SIGTERM ends the worker in time."""
    one = worker(STREAMS_LOG_LEVEL="debug").start()
    assert json.loads(one.page("/health/live")[1])["live"] is True
    message = MessageCreated(
        tenant_id="0b6ac1e8-67e1-4a3f-8f4c-6cf0a1f6a001",
        message_id="m",
        app_id="a",
        provider_name="p",
        model="m",
        provider_type="custom",
        message_tokens=1,
        answer_tokens=1,
    )
    publish(settings, [message])
    wait_for(lambda: rows(engine, "select 1 from streams.executions where status = 'success'"), "the delivery")
    status, page = one.page("/metrics")
    assert status == 200
    name = load_catalogue(settings).of(MessageCreated).name
    group = f"{settings.application}.high"
    labels = f'consumergroup="{group}",handler="charge-message"'
    assert f'streams_deliveries_total{{{labels},outcome="success",topic="{name}"}} 1.0' in page
    lag = f'kafka_consumergroup_lag{{consumergroup="{group}",partition="0",topic="{name}"}} 0.0'
    wait_for(lambda: lag in one.page("/metrics")[1], "the lag of an owned partition")
    for metric in (
        "streams_delivery_duration_seconds_bucket",
        "streams_event_age_seconds_bucket",
        "streams_deliveries_in_flight",
        "streams_rebalances_total",
    ):
        assert metric in page
    lines = [line for line in one.lines() if line["message"] == "delivery succeeded"]
    assert (
        lines[0]
        | {
            "event_id": str(message.event_id),
            "topic": name,
            "handler": "charge-message",
            "attempt": 1,
            "tenant_id": message.tenant_id,
        }
        == lines[0]
    )
    assert {"partition", "offset", "timestamp", "level", "logger"} <= lines[0].keys()
    assert one.stop() == 0


@pytest.mark.requirement("Transport", "one process hosts all pools or some")
@pytest.mark.usefixtures("topics")
def test_pools_can_be_hosted_by_workers_of_their_own(worker: MakeWorker, settings: Settings, engine: Engine) -> None:
    """A worker of `low` alone does not consume messages. The group names do not depend on the hosted pools."""
    worker(STREAMS_POOLS="low").start()
    gone = DocumentDeleted(
        tenant_id="0b6ac1e8-67e1-4a3f-8f4c-6cf0a1f6a001",
        document_id="0b6ac1e8-67e1-4a3f-8f4c-6cf0a1f6a002",
        dataset_id="0b6ac1e8-67e1-4a3f-8f4c-6cf0a1f6a003",
        doc_form="text_model",
    )
    publish(settings, [gone])
    wait_for(lambda: rows(engine, "select 1 from streams.executions where status = 'success'"), "the clean-up")
    assert scalar(engine, "select pool from streams.executions") == "low"


@pytest.mark.requirement("Bridges", "events whose handler comes later are not acknowledged before it is there")
@pytest.mark.usefixtures("topics")
def test_events_wait_for_a_worker_that_has_a_handler(worker: MakeWorker, settings: Settings, engine: Engine) -> None:
    """A worker without the handler settles none of them, but other events. The next worker runs them."""
    name = load_catalogue(settings).of(TenantUpdated).name
    waiting = TenantUpdated(tenant_id="t1")
    former = worker(STREAMS_POOLS="high,default").start()
    publish(settings, [waiting, DocumentIndexCreated(dataset_id="d1", document_ids=[])])
    wait_for(lambda: rows(engine, "select 1 from streams.executions"), "the delivery of another topic")
    former.stop()
    lag = [row for row in group_lag(settings, load_catalogue(settings)).lags if row.topic == name]
    assert sum(row.lag for row in lag) == 1
    worker(STREAMS_POOLS="high,default", STREAMS_HANDLERS="tests.support.apps.welcoming").start()
    done = "select result from streams.executions where event_id = :id and status = 'success'"
    (found,) = wait_for(lambda: rows(engine, done, id=waiting.event_id), "the delivery")
    assert found["result"] == "t1 at attempt 1"


@pytest.mark.requirement("Transport", "`faust -A streams agents` lists an agent per topic and tier")
def test_faust_lists_an_agent_per_topic_and_tier(environment: dict[str, str], settings: Settings) -> None:
    listed = faust(environment, "agents")
    assert listed.returncode == 0, listed.stderr
    catalogue = load_catalogue(settings)
    for name in topics_to_read(catalogue, build_handlers(settings)):
        assert name.removeprefix(settings.topic_prefix) in listed.stdout
    assert f"{settings.application}.default.retry.0s" in listed.stdout


@pytest.mark.requirement("Transport", "`-A streams` finds the app also after `import streams.bootstrap`")
def test_the_app_is_found_after_bootstrap_was_imported(environment: dict[str, str]) -> None:
    """A module with the name of the attribute would hide it from `-A streams`."""
    code = "import streams.bootstrap, streams; from faust.cli.base import find_app; print(find_app('streams').conf.id)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == environment["STREAMS_APPLICATION"], done.stderr


@pytest.mark.requirement("Transport", "`faust -A streams send`")
@pytest.mark.usefixtures("topics")
def test_faust_send_puts_a_record_on_a_topic(
    environment: dict[str, str], settings: Settings, commands: Commands
) -> None:
    """Faust sends raw bytes, and they arrive unchanged."""
    name = load_catalogue(settings).of(DocumentDeleted).name
    sent = faust(environment, "send", name, "not avro")
    assert sent.returncode == 0, sent.stderr
    found = commands.json("lag")
    assert isinstance(found, list)
    assert sum(row["end_offset"] for row in found if row["topic"] == name) == 1


def faust(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Faust command on the app."""
    return subprocess.run(
        [BIN / "faust", "-A", "streams", *arguments],
        env={**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
