"""The example service: the rows that it writes and the events that it publishes. The tutorial runs it."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from service import app
from sqlalchemy import Engine

from schemas import DocumentDeleted, DocumentIndexRequested, Event
from streams.codec import build_codec, default_codec
from streams.settings import Settings, load_settings
from streams.topics import load_catalogue
from tests.support.processes.worker_process import rows, scalar

REFUSE = """
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
    create constraint trigger refuse after insert or delete on documents deferrable initially deferred
        for each row execute function refuse();
"""
"""All statements succeed, but the commit fails."""


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:  # noqa: ARG001 - sets the environment
    """Return a client of the service, which reads its settings from the environment."""
    load_settings.cache_clear()
    default_codec.cache_clear()
    with TestClient(app, raise_server_exceptions=False) as test_client:
        yield test_client
    load_settings.cache_clear()
    default_codec.cache_clear()


@pytest.fixture
def dataset(client: TestClient) -> str:
    return post(client, "/datasets", {"name": "handbook"}, 201)["id"]


def post(client: TestClient, path: str, body: dict[str, str], status: int) -> dict[str, str]:
    """Send a POST request and return the service's answer."""
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, str] = answer.json()
    return found


def published(settings: Settings, engine: Engine) -> list[Event]:
    """Return the events in the outbox, the oldest first."""
    codec = build_codec(settings, load_catalogue(settings))
    found = rows(engine, "select topic, value from streams.outbox order by id")
    return [codec.decode(str(row["topic"]), row["value"]) for row in found]  # type: ignore[arg-type]  # a bytea


@pytest.mark.requirement(
    "The example service",
    "a small FastAPI app under `examples/` makes and deletes documents on the platform's tables and "
    "publishes through the outbox",
)
def test_a_document_is_created_shown_and_deleted_with_its_events(
    settings: Settings, engine: Engine, client: TestClient, dataset: str, tmp_path: Path
) -> None:
    document = post(client, f"/datasets/{dataset}/documents", {"name": "a.md", "text": "Grüße"}, 202)
    (request,) = published(settings, engine)
    assert isinstance(request, DocumentIndexRequested)
    assert (request.document_id, request.dataset_id, str(request.event_id)) == (
        document["id"],
        dataset,
        document["event_id"],
    )
    (file,) = rows(engine, "select id, key, size from upload_files")
    assert (tmp_path / "storage" / str(file["key"])).read_text() == "Grüße"
    assert file["size"] == len("Grüße".encode())
    assert scalar(engine, "select count(*) from dataset_process_rules") == 1
    shown = client.get(f"/documents/{document['id']}")
    assert shown.json() == {"id": document["id"], "name": "a.md", "status": "waiting", "error": None, "segments": 0}

    deletion = client.delete(f"/documents/{document['id']}")
    assert deletion.status_code == 202
    deleted = published(settings, engine)[1]
    assert deleted == DocumentDeleted(
        event_id=deleted.event_id,
        occurred_at=deleted.occurred_at,
        tenant_id=request.tenant_id,
        document_id=document["id"],
        dataset_id=dataset,
        doc_form="text_model",
        file_id=str(file["id"]),
    )
    assert deletion.json() == {"id": document["id"], "event_id": str(deleted.event_id)}
    assert client.get(f"/documents/{document['id']}").status_code == 404


@pytest.mark.requirement(
    "The example service",
    "a small FastAPI app under `examples/` makes and deletes documents on the platform's tables and "
    "publishes through the outbox",
)
def test_a_failed_commit_publishes_no_event(
    settings: Settings, engine: Engine, client: TestClient, dataset: str
) -> None:
    """There is no row and no event, and the answer is an error."""
    with engine.begin() as connection:
        connection.exec_driver_sql(REFUSE)
    answer = client.post(f"/datasets/{dataset}/documents", json={"name": "a.md", "text": "x"})
    assert answer.status_code == 500
    assert scalar(engine, "select count(*) from documents") == 0
    assert published(settings, engine) == []


@pytest.mark.requirement(
    "The example service",
    "a small FastAPI app under `examples/` makes and deletes documents on the platform's tables and "
    "publishes through the outbox",
)
def test_missing_rows_are_answered_with_404(settings: Settings, engine: Engine, client: TestClient) -> None:
    nowhere = uuid4()
    assert client.post(f"/datasets/{nowhere}/documents", json={"name": "a.md", "text": "x"}).status_code == 404
    assert client.delete(f"/documents/{nowhere}").json() == {"detail": f"there is no document {nowhere}"}
    assert client.get(f"/datasets/{nowhere}/passages", params={"question": "x"}).status_code == 404
    assert client.get("/documents/no-uuid").status_code == 422
    assert published(settings, engine) == []
