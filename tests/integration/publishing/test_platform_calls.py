"""Each of the platform's 52 Celery tasks: its signature, and its event in every transaction."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel
from sqlalchemy import text

from schemas import Event, PipelineRunRequested, SegmentDisabled
from streams.dify.models import App, Dataset, Document, DocumentSegment
from streams.publishing import BridgeError, CeleryTasks, EventProducer, celery_tasks
from streams.topics import BUILT_IN
from tests.integration.conftest import Stack
from tests.support.celery_calls import CALLS
from tests.support.celery_calls.call import (
    APP,
    DATASET,
    DOCUMENT,
    PIPELINE,
    PIPELINE_DATASET,
    RUN,
    SEGMENT,
    TENANT,
    USER,
    Call,
)
from tests.support.celery_calls.live_values import NODE_DATA, RUN_DATA
from tests.support.publisher import Senders, Waiting, open_senders

SECTION = "The whole domain"
ALL_TASKS = "The Celery bridge for all 52 tasks, keyed by the full name, each in the transaction of the platform's call"
ARGUMENTS = "positional and by keyword; live Python values become fields without the platform's classes"
LIFETIME = timedelta(seconds=300)
TOPICS = {topic.name: topic.event for topic in BUILT_IN}


@pytest.fixture(scope="module")
def senders(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Senders]:
    with open_senders(stack, template, tmp_path_factory.mktemp("senders")) as opened:
        with opened.current.begin():
            opened.current.add_all(platform_rows())
        yield opened


def platform_rows() -> list[object]:
    document = {"id": DOCUMENT, "tenant_id": TENANT, "dataset_id": DATASET, "position": 1, "created_by": USER}
    source = {"data_source_type": "upload_file", "batch": "b", "name": "n", "created_from": "web"}
    segment = {"id": SEGMENT, "tenant_id": TENANT, "dataset_id": DATASET, "document_id": DOCUMENT, "created_by": USER}
    return [
        App(id=APP, tenant_id=TENANT, name="a", mode="chat", enable_site=True, enable_api=True),
        Dataset(id=DATASET, tenant_id=TENANT, name="d", created_by=USER, pipeline_id=PIPELINE),
        Dataset(id=PIPELINE_DATASET, tenant_id=TENANT, name="p", created_by=USER, runtime_mode="rag_pipeline"),
        Document(**document, **source),
        DocumentSegment(**segment, position=1, content="c", word_count=1, tokens=1),
    ]


@pytest.fixture
def tasks(senders: Senders) -> Iterator[CeleryTasks]:
    yield celery_tasks(senders.current, codec=senders.codec)
    senders.empty()


def by_keyword(call: Call) -> dict[str, object]:
    return dict(zip((name.removesuffix("?") for name in call.parameters.split()), call.values, strict=True))


def fields_of(event: BaseModel) -> dict[str, object]:
    return event.model_dump(mode="json", exclude={"event_id", "occurred_at"})


def expected(call: Call) -> dict[str, object]:
    """Return what `published` returns for the call's event."""
    event = TOPICS[call.topic].model_validate(call.fields)
    return {"class": type(event), **fields_of(event), "wait": call.due, "expires": call.expires}


def published(found: Waiting) -> dict[str, object]:
    """Return the fields of an event, the seconds until it is due, and whether it expires with a code's lifetime."""
    wait = 0.0 if found.wait is None else float(found.wait // timedelta(seconds=1))
    left = LIFETIME if found.expires is None else datetime.fromisoformat(found.expires) - datetime.now(tz=UTC)
    assert timedelta(0) < left <= LIFETIME
    return {"class": type(found.event), **fields_of(found.event), "wait": wait, "expires": found.expires is not None}


@pytest.mark.requirement(SECTION, ALL_TASKS)
@pytest.mark.requirement(SECTION, ARGUMENTS)
@pytest.mark.parametrize("transaction", ["none", "commit", "rollback"])
def test_each_task_publishes_its_event_in_its_transaction(
    senders: Senders, tasks: CeleryTasks, transaction: str
) -> None:
    """Without a transaction of the sender, in one that is committed, and in one that is rolled back."""
    calls: dict[str, Call] = {}
    for call in CALLS:
        task = tasks[f"tasks.{call.name}"]
        if transaction != "none":
            senders.current.execute(text("select 1"))
        calls[task.delay(*call.values).id] = call
        calls[task.apply_async(kwargs=by_keyword(call)).id] = call
    if transaction != "none":
        getattr(senders.current, transaction)()

    found = {row.event_id: published(row) for row in senders.outbox()}
    lost = {"sender's"} if transaction == "rollback" else set()
    assert found == {event_id: expected(call) for event_id, call in calls.items() if call.transaction not in lost}


@pytest.mark.requirement(SECTION, ALL_TASKS)
def test_a_short_name_finds_a_task_if_it_is_unique(tasks: CeleryTasks) -> None:
    assert tasks["send_inner_email_task"] is tasks["tasks.mail_inner_task.send_inner_email_task"]
    assert tasks.rag_pipeline_run_task is tasks["tasks.rag_pipeline.rag_pipeline_run_task.rag_pipeline_run_task"]
    for name in ("save_workflow_execution_task", "tasks.save_workflow_node_execution_task"):
        with pytest.raises(KeyError):
            _ = tasks[name]
    with pytest.raises(AttributeError, match=r"2 tasks are called .*'tasks\.workflow_draft_var_tasks\.save_workflow"):
        _ = tasks.save_workflow_execution_task


@pytest.mark.requirement(SECTION, "a retry of pipeline documents goes to pipeline.run-requested")
def test_documents_of_a_pipeline_are_run_by_the_pipeline_again(senders: Senders, tasks: CeleryTasks) -> None:
    tasks.retry_document_indexing_task.delay(PIPELINE_DATASET, [DOCUMENT], USER)
    event = senders.event()
    assert isinstance(event, PipelineRunRequested)
    assert (event.tenant_id, event.dataset_id, event.document_ids) == (TENANT, PIPELINE_DATASET, [DOCUMENT])
    assert event.file_id is None


@pytest.mark.requirement(SECTION, "a task that gives only an id looks up the document")
def test_a_segment_of_an_open_transaction_is_unknown(senders: Senders, tasks: CeleryTasks) -> None:
    """The event has its own transaction, which sees committed rows only. An id that is no UUID aborts nothing."""
    for wrong in ("no uuid", TENANT):
        with pytest.raises(BridgeError, match=f"disable_segment_from_index_task: there is no segment {wrong}"):
            tasks.disable_segment_from_index_task.delay(wrong)
    assert senders.outbox() == []
    tasks.disable_segment_from_index_task.delay(SEGMENT)
    event = senders.event()
    assert isinstance(event, SegmentDisabled)
    assert (event.tenant_id, event.dataset_id, event.document_id) == (TENANT, DATASET, DOCUMENT)


@pytest.mark.requirement(SECTION, "dataset.deleted has the pipeline of its dataset")
def test_a_pipeline_in_the_call_goes_before_the_row(senders: Senders, tasks: CeleryTasks) -> None:
    """Dify 1.12 gives it. Before, the row tells it, if it still exists."""
    for dataset, pipeline in ((DATASET, "given"), (USER, None)):
        tasks.clean_dataset_task.delay(dataset, TENANT, "economy", None, None, None, pipeline_id=pipeline)
    assert [fields_of(found.event)["pipeline_id"] for found in senders.outbox()] == ["given", None]


@pytest.mark.requirement(SECTION, "codes get an expiry time")
def test_an_earlier_expiry_of_the_call_holds_for_a_code(senders: Senders, tasks: CeleryTasks) -> None:
    for expires in (1, 3600):
        tasks.send_reset_password_mail_task.apply_async(("en-US", "a@example.com", "1"), expires=expires, countdown=60)
    first, second = (datetime.fromisoformat(found.expires or "") for found in senders.outbox())
    assert first < datetime.now(tz=UTC) + timedelta(seconds=2)
    assert second <= datetime.now(tz=UTC) + LIFETIME


@pytest.mark.requirement(SECTION, "document.enabled is sent a second later; a countdown of the call goes before it")
def test_a_countdown_of_the_call_goes_before_the_usual_delay(senders: Senders, tasks: CeleryTasks) -> None:
    tasks.add_document_to_index_task.apply_async((DOCUMENT,), countdown=60)
    (found,) = senders.outbox()
    assert found.wait is not None
    assert timedelta(seconds=50) < found.wait <= timedelta(seconds=60)


class RecordingProducer(EventProducer):
    """Keeps what it would send: no topic of this database is on the cluster."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def publish(self, event: Event, **_: object) -> None:  # type: ignore[override]  # no position
        self.events.append(event)


@pytest.mark.requirement(SECTION, "the states of workflow runs can be published without a transaction")
def test_states_of_workflows_go_straight_to_kafka_if_a_producer_is_given(senders: Senders) -> None:
    """A call for later, and every other task, is published in a transaction as before."""
    producer = RecordingProducer()
    tasks = celery_tasks(senders.current, codec=senders.codec, producer=producer)
    run = tasks["tasks.workflow_execution_tasks.save_workflow_execution_task"]
    arguments = (TENANT, APP, "app-run", USER, "account")
    ids = [run.delay(RUN_DATA, *arguments).id]
    ids += [tasks.save_workflow_node_execution_task.delay(NODE_DATA, *arguments).id]
    assert [str(event.event_id) for event in producer.events] == ids
    assert senders.outbox() == []
    run.apply_async((RUN_DATA, *arguments), countdown=60)
    tasks.delete_account_task.delay(USER)
    assert len(senders.outbox()) == len(producer.events) == 2
    assert fields_of(producer.events[0])["run_id"] == RUN
    senders.empty()
