"""Celery calls as the platform makes them, before and after its commit, and the effects of their options."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import pytest

from schemas import DocumentIndexRequested, DocumentsDeleted
from streams.dify.models import Dataset
from streams.publishing import BridgeError, CeleryTasks, celery_tasks
from tests.integration.conftest import Stack
from tests.support.publisher import Senders, open_senders

TENANT, DATASET, DOCUMENT = (str(uuid4()) for _ in range(3))


@pytest.fixture(scope="module")
def opened(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Senders]:
    with open_senders(stack, template, tmp_path_factory.mktemp("senders")) as opened:
        yield opened


@pytest.fixture
def senders(opened: Senders) -> Iterator[Senders]:
    with opened.current.begin():
        dataset = Dataset(id=DATASET, tenant_id=TENANT, name="d", created_by=TENANT, indexing_technique="economy")
        opened.current.add(dataset)
    yield opened
    opened.empty("datasets")


@pytest.fixture
def tasks(senders: Senders) -> CeleryTasks:
    return celery_tasks(senders.current, codec=senders.codec)


@pytest.mark.requirement(
    "Bridges",
    "an object with `.delay` and `.apply_async` for each replaced task name that publishes the event",
)
def test_a_call_after_the_commit_is_not_lost(senders: Senders, tasks: CeleryTasks) -> None:
    """Its arguments come from rows that the commit has expired. Reading opens a transaction that is not committed."""
    dataset = senders.current.get_one(Dataset, DATASET)
    dataset.name = "changed"
    senders.current.commit()
    published = tasks.document_indexing_update_task.delay(dataset.id, DOCUMENT)
    assert senders.current().in_transaction()
    senders.current.remove()
    (found,) = senders.outbox()
    assert found.event.model_dump(include={"dataset_id", "document_id", "tenant_id"}) == {
        "dataset_id": DATASET,
        "document_id": DOCUMENT,
        "tenant_id": TENANT,
    }
    assert isinstance(found.event, DocumentIndexRequested)
    assert found.wait is None
    assert published.id == published.task_id == found.event_id


@pytest.mark.requirement(
    "Bridges",
    "an object with `.delay` and `.apply_async` for each replaced task name that publishes the event",
)
@pytest.mark.parametrize(("end", "events"), [("commit", 1), ("rollback", 0)])
def test_a_call_before_the_commit_is_in_its_transaction(
    senders: Senders, tasks: CeleryTasks, end: str, events: int
) -> None:
    """As when documents are deleted: first the call, then the rows, then the commit."""
    dataset = senders.current.get_one(Dataset, DATASET)
    tasks.batch_clean_document_task.delay([DOCUMENT], dataset.id, "text_model", ["f"])
    senders.current.delete(dataset)
    senders.current.flush()
    assert senders.outbox() == []
    getattr(senders.current, end)()
    senders.current.remove()
    assert [type(found.event) for found in senders.outbox()] == [DocumentsDeleted] * events


def test_without_an_open_transaction_it_has_its_own(senders: Senders, tasks: CeleryTasks) -> None:
    tasks.clean_document_task.delay(DOCUMENT, DATASET, "text_model", None)
    senders.current.remove()
    assert senders.event().tenant_id == TENANT


LATER = datetime(2199, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.requirement("Bridges", "countdown and eta honoured")
@pytest.mark.parametrize(
    ("option", "due"),
    [
        ({"eta": LATER}, lambda _: LATER),
        ({"eta": LATER.astimezone(timezone(timedelta(hours=9)))}, lambda _: LATER),
        ({"eta": LATER.replace(tzinfo=None)}, lambda _: LATER),
        ({"countdown": 90}, lambda now: now + timedelta(seconds=90)),
        ({"countdown": 0.5, "eta": LATER}, lambda now: now + timedelta(seconds=0.5)),
    ],
    ids=["eta", "of another zone", "without a zone: UTC", "countdown", "countdown goes before eta"],
)
@pytest.mark.parametrize("name", ["recover_document_indexing_task", "document_indexing_sync_task"])
def test_it_is_due_when_the_call_says(
    senders: Senders,
    tasks: CeleryTasks,
    name: str,
    option: dict[str, float | datetime],
    due: Callable[[datetime], datetime],
) -> None:
    before = due(datetime.now(tz=UTC))
    tasks[name].apply_async((DATASET, DOCUMENT), **option)  # type: ignore[arg-type]  # of its types
    (found,) = senders.outbox()
    assert found.due_at is not None
    assert before <= found.due_at <= due(datetime.now(tz=UTC))


@pytest.mark.requirement("Bridges", "expires honoured")
@pytest.mark.parametrize(
    ("expires", "when"),
    [
        (120, lambda now: now + timedelta(seconds=120)),
        (LATER, lambda _: LATER),
        (LATER.replace(tzinfo=None), lambda _: LATER),
    ],
    ids=["seconds", "a time", "without a zone: UTC"],
)
def test_it_expires_when_the_call_says(
    senders: Senders, tasks: CeleryTasks, expires: float | datetime, when: Callable[[datetime], datetime]
) -> None:
    """The record's header has it, and the delivery applies it."""
    before = when(datetime.now(tz=UTC))
    arguments = {"dataset_id": DATASET, "document_id": DOCUMENT}
    tasks.recover_document_indexing_task.apply_async(kwargs=arguments, expires=expires, priority=9, queue="dataset")
    (found,) = senders.outbox()
    assert found.expires is not None
    assert before <= datetime.fromisoformat(found.expires) <= when(datetime.now(tz=UTC))


@pytest.mark.requirement("Bridges", "countdown and eta honoured")
@pytest.mark.requirement("Bridges", "expires honoured")
def test_options_hold_in_the_sender_s_transaction_too(senders: Senders, tasks: CeleryTasks) -> None:
    with senders.current.begin():
        tasks.clean_document_task.apply_async((DOCUMENT, DATASET, None, None), eta=LATER, expires=LATER)
    (found,) = senders.outbox()
    assert (found.due_at, found.expires) == (LATER, LATER.isoformat())


@pytest.mark.requirement(
    "Bridges",
    "an object with `.delay` and `.apply_async` for each replaced task name that publishes the event",
)
def test_tasks_are_known_by_their_names(tasks: CeleryTasks) -> None:
    """Celery's names too. A task without an event is reported."""
    full = "tasks.document_indexing_task.document_indexing_task"
    assert tasks[full] is tasks["document_indexing_task"] is tasks.document_indexing_task
    assert full in tasks
    with pytest.raises(AttributeError, match="no replaced task 'clean_datasets_task'; did you mean clean_dataset_task"):
        _ = tasks.clean_datasets_task
    with pytest.raises(KeyError):
        _ = tasks["send_mail"]


@pytest.mark.requirement(
    "Bridges",
    "arguments bind as the task's own; options that would not be honoured are refused",
)
def test_what_cannot_be_honoured_is_refused(senders: Senders, tasks: CeleryTasks) -> None:
    """Wrong arguments as in a call of the task, options without a meaning here, values of another type."""
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'document_id'"):
        tasks.recover_document_indexing_task.delay(DATASET)
    with pytest.raises(TypeError, match="link"):
        tasks.recover_document_indexing_task.apply_async((DATASET, DOCUMENT), link="other")  # type: ignore[call-arg]  # what is tested
    with pytest.raises(BridgeError, match=r"document_indexing_task: document_ids: Input should be a valid list"):
        tasks.document_indexing_task.delay(DATASET, DOCUMENT)
    assert senders.outbox() == []
