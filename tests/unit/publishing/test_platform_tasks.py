"""The replaced Celery tasks: their signatures and events."""

from collections.abc import Mapping

import pytest

from schemas import DocumentIndexCreated
from streams.publishing.bridges.platform_tasks import TASKS

BY_NAME = {task.name: task for task in TASKS}


@pytest.mark.requirement(
    "Bridges",
    "an object with `.delay` and `.apply_async` for each replaced task name that publishes the event",
)
@pytest.mark.parametrize(
    ("name", "arguments", "event", "fields"),
    [
        ("document_indexing_task", ("s", ["d"]), "DocumentIndexCreated", {"dataset_id": "s", "document_ids": ["d"]}),
        (
            "duplicate_document_indexing_task",
            ("s", ["d"]),
            "DocumentIndexCreated",
            {"dataset_id": "s", "document_ids": ["d"]},
        ),
        (
            "retry_document_indexing_task",
            ("s", ["d"], "u"),
            "DocumentIndexCreated",
            {"dataset_id": "s", "document_ids": ["d"]},
        ),
        (
            "document_indexing_update_task",
            ("s", "d"),
            "DocumentIndexRequested",
            {"dataset_id": "s", "document_id": "d"},
        ),
        (
            "recover_document_indexing_task",
            ("s", "d"),
            "DocumentIndexRequested",
            {"dataset_id": "s", "document_id": "d"},
        ),
        ("document_indexing_sync_task", ("s", "d"), "DocumentSyncRequested", {"dataset_id": "s", "document_id": "d"}),
        (
            "sync_website_document_indexing_task",
            ("s", "d"),
            "DocumentSyncRequested",
            {"dataset_id": "s", "document_id": "d"},
        ),
        (
            "clean_dataset_task",
            ("s", "t", "economy", "{}", "b", "qa_model"),
            "DatasetDeleted",
            {"dataset_id": "s", "tenant_id": "t", "collection_binding_id": "b", "doc_form": "qa_model"},
        ),
        (
            "clean_document_task",
            ("d", "s", None, "f"),
            "DocumentDeleted",
            {"document_id": "d", "dataset_id": "s", "doc_form": "text_model", "file_id": "f"},
        ),
        (
            "batch_clean_document_task",
            (["d", "e"], "s", "qa_model", ["", "f"]),
            "DocumentsDeleted",
            {"document_ids": ["d", "e"], "dataset_id": "s", "doc_form": "qa_model", "file_ids": ["f"]},
        ),
        (
            "clean_notion_document_task",
            (["d"], "s"),
            "DocumentsRemovalRequested",
            {"document_ids": ["d"], "dataset_id": "s"},
        ),
    ],
)
def test_a_task_is_its_event(
    name: str, arguments: tuple[object, ...], event: str, fields: Mapping[str, object]
) -> None:
    made = BY_NAME[name].to_event(*arguments)
    assert type(made).__name__ == event
    assert made.model_dump(include=set(fields)) == fields


@pytest.mark.requirement(
    "Bridges",
    "arguments bind as the task's own; options that would not be honoured are refused",
)
def test_arguments_are_bound_as_the_task_s_own() -> None:
    made = BY_NAME["retry_document_indexing_task"].to_event(document_ids=["d"], dataset_id="s", user_id="u")
    assert isinstance(made, DocumentIndexCreated)
    with pytest.raises(TypeError, match="document_indexing_task"):
        BY_NAME["document_indexing_task"].to_event("s")


def test_each_name_is_there_once() -> None:
    assert len(BY_NAME) == len(TASKS) == 11
