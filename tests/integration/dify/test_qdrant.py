"""Qdrant behind the port: its own client with a store in a folder, and with failing servers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest
from qdrant_client import AsyncQdrantClient
from qdrant_client.models import PointStruct
from sqlalchemy import select

from schemas import DatasetDeleted
from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.database.tables import outbox
from streams.delivery import Permanent, Retry
from streams.dify.errors import VectorStoreError
from streams.dify.indexing import load
from streams.dify.models import Dataset, DatasetCollectionBinding, Document
from streams.dify.search import passages
from streams.dify.vector_stores.qdrant import QdrantIndex, build_qdrant_index
from tests.support.platform.cleanup_steps import assert_delete_wins, settle
from tests.support.platform.handler_runs import CrashError, Site, open_site, prose

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
SHARED = "Vector_index_11111111_1111_4111_8111_111111111111_Node"


@pytest.fixture
async def site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(load, "GROUP_SIZE", 4)
    client = AsyncQdrantClient(path=str(tmp_path / "qdrant"))
    async with open_site(database_url, tmp_path / "files") as opened:
        yield replace(opened, platform=replace(opened.platform, vectors=QdrantIndex(lambda: client)))
    await client.close()


@pytest.mark.requirement(
    "Embedding and loading",
    "Qdrant behind the same port, in the platform's layout, shared collections too",
)
async def test_a_document_is_indexed_found_and_removed(site: Site) -> None:
    """Points have the platform's layout and the segments' node ids. index_struct names the store."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"Everyone has thirty days of leave.", name="leave.txt")
    other = await site.add_document(dataset, b"The printer eats green paper only.")
    for one in (document, other):
        await site.run(index_document, site.request(one))

    (segment,) = await site.segments(document.id)
    async with site.transaction() as session:
        found = await passages(session, site.platform, dataset.id, "How many days off do I have?", 1)
        struct = await session.scalar(select(Dataset.index_struct).where(Dataset.id == dataset.id))
    assert [passage.document for passage in found] == ["leave.txt"]
    assert struct == f'{{"type": "qdrant", "vector_store": {{"class_prefix": "{site.collection(dataset.id)}"}}}}'
    async with site.platform.vectors._connection() as client:  # type: ignore[attr-defined]  # checks the layout
        (point,) = await client.retrieve(site.collection(dataset.id), [segment.index_node_id])
    assert point.payload == {
        "page_content": segment.content,
        "metadata": {
            "doc_id": segment.index_node_id,
            "doc_hash": segment.index_node_hash,
            "document_id": document.id,
            "dataset_id": dataset.id,
        },
        "group_id": dataset.id,
    }

    await site.delete(Document, id=document.id)
    await site.run(clean_document, site.document_deleted(document))
    assert await site.vectors(dataset.id) == 1


@pytest.mark.requirement(
    "Embedding and loading",
    "Qdrant: a crash in any commit, delete wins, a clean-up repeated once, a server that fails or is gone",
)
async def test_a_crash_in_any_commit_leaves_no_point_twice(site: Site) -> None:
    """Qdrant has written, PostgreSQL has not committed. The repetition writes the same points again."""
    dataset = await site.add_dataset()
    step, crashed, total = 0, True, 0
    while crashed:
        step += 1
        document = await site.add_document(dataset, prose(8))

        async def kill(committing: int, at: int = step) -> None:
            if committing == at:
                raise CrashError

        try:
            await site.run(index_document, site.request(document), before_commit=kill)
            crashed = False
        except CrashError:
            await site.run(index_document, site.request(document))
        total += len(await site.segments(document.id))
        assert await site.vectors(dataset.id) == total
    assert step > 6


@pytest.mark.requirement(
    "Embedding and loading",
    "Qdrant: a crash in any commit, delete wins, a clean-up repeated once, a server that fails or is gone",
)
async def test_delete_wins_between_any_two_steps(site: Site) -> None:
    """The document is deleted after the first, second, … step. Nothing is left."""
    await assert_delete_wins(site)


@pytest.mark.requirement(
    "Embedding and loading",
    "Qdrant behind the same port, in the platform's layout, shared collections too",
)
async def test_datasets_of_one_model_share_their_binding_s_collection(site: Site) -> None:
    """Each dataset finds its own points.

    When one is deleted, also before it has an index_struct, the other keeps its points.
    """
    binding = DatasetCollectionBinding(
        id=str(uuid4()), provider_name="local", model_name="wordllama-256", type="dataset", collection_name=SHARED
    )
    await site.add(binding)
    one, other = [await site.add_dataset(collection_binding_id=binding.id) for _ in range(2)]
    for dataset in (one, other):
        await site.run(
            index_document, site.request(await site.add_document(dataset, prose(4), name=f"{dataset.id}.txt"))
        )

    async with site.transaction() as session:
        both = await site.platform.vectors.count(session, SHARED)
        found = await passages(session, site.platform, one.id, "room 14", 3)
    assert {passage.document for passage in found} == {f"{one.id}.txt"}

    await site.delete(Dataset, id=one.id)
    event = DatasetDeleted(tenant_id=site.tenant_id, dataset_id=one.id, collection_binding_id=binding.id)
    await settle(site, event)
    async with site.transaction() as session:
        assert await site.platform.vectors.count(session, SHARED) == both / 2
        assert await passages(session, site.platform, other.id, "room 14", 1) != []


@pytest.mark.requirement(
    "Embedding and loading",
    "Qdrant: a crash in any commit, delete wins, a clean-up repeated once, a server that fails or is gone",
)
async def test_a_clean_up_is_repeated_once(site: Site) -> None:
    """15 minutes after the deletion. The second clean-up publishes no further one, and deletes late writes."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"Some text.")
    await site.run(index_document, site.request(document))
    await site.published()
    await site.delete(Document, id=document.id)
    event = site.document_deleted(document)
    await site.run(clean_document, event)

    async with site.transaction() as session:
        (due,) = await session.scalars(select(outbox.c.due_at))
    assert due == event.occurred_at + timedelta(minutes=15)
    (again,) = await site.published()
    assert again.event_id != event.event_id
    assert again.model_copy(update={"event_id": event.event_id}) == event

    payload = {"group_id": dataset.id, "metadata": {"document_id": document.id}}
    async with site.platform.vectors._connection() as client:  # type: ignore[attr-defined]  # a late write
        await client.upsert(
            site.collection(dataset.id),
            [PointStruct(id=str(uuid4()), vector=[1.0] * 256, payload=payload)],
        )
    past = again.model_copy(update={"occurred_at": datetime.now(tz=UTC) - timedelta(minutes=15)})
    await site.run(clean_document, past)
    assert await site.vectors(dataset.id) == 0
    assert await site.published() == []


@contextmanager
def answering(status: int, headers: dict[str, str]) -> Iterator[str]:
    """Start a server that gives every request the same answer; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "2", "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"{}")

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Log nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.mark.requirement(
    "Embedding and loading",
    "Qdrant: a crash in any commit, delete wins, a clean-up repeated once, a server that fails or is gone",
)
@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [(500, {}, VectorStoreError), (403, {}, Permanent), (429, {"Retry-After": "7"}, Retry)],
)
async def test_a_server_that_fails(site: Site, status: int, headers: dict[str, str], kind: type[Exception]) -> None:
    """5xx is retried, 4xx is permanent, 429 waits as requested. The document is never completed."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"Some text.")
    with answering(status, headers) as url:
        failing = replace(site, platform=replace(site.platform, vectors=build_qdrant_index(url, None, 5)))
        with pytest.raises(kind, match="Qdrant") as failure:
            await failing.run(index_document, site.request(document))
    if isinstance(failure.value, Retry):
        assert failure.value.after == 7
    assert (await site.document(document.id)).indexing_status != "completed"


@pytest.mark.requirement(
    "Embedding and loading",
    "Qdrant: a crash in any commit, delete wins, a clean-up repeated once, a server that fails or is gone",
)
async def test_a_server_that_is_gone_comes_back(site: Site) -> None:
    """An ordinary failure. After the store is back, the same request completes."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, b"Some text.")
    with answering(500, {}) as url:
        pass
    gone = replace(site, platform=replace(site.platform, vectors=build_qdrant_index(url, None, 5)))
    with pytest.raises(VectorStoreError, match="does not answer"):
        await asyncio.wait_for(gone.run(index_document, site.request(document)), 20)
    await site.run(index_document, site.request(document))
    assert await site.vectors(dataset.id) == 1
