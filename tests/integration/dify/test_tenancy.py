"""Tenants are apart: an event of one tenant that names rows of another changes nothing there, in every handler."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, update

from schemas import (
    DatasetDeleted,
    DatasetIndexChanged,
    DocumentDeleted,
    DocumentDisabled,
    DocumentEnabled,
    DocumentIndexCreated,
    DocumentIndexRequested,
    DocumentsDeleted,
    DocumentsRemovalRequested,
    DocumentSyncRequested,
    Event,
    MessageCreated,
    SegmentDeleted,
    SegmentDisabled,
    SegmentEnabled,
    SegmentsImportRequested,
)
from streams.agents.apps.message_quota import charge_message
from streams.agents.built_in import HANDLERS
from streams.agents.knowledge.dataset_cleanup import clean_dataset
from streams.agents.knowledge.dataset_index import rebuild_dataset_index
from streams.agents.knowledge.document_cleanup import clean_documents, remove_documents
from streams.agents.knowledge.document_indexing import clean_document, index_document, request_document_indexing
from streams.agents.knowledge.document_state import add_document_to_index, remove_document_from_index
from streams.agents.knowledge.document_sync import sync_document
from streams.agents.knowledge.segment_import import import_segments
from streams.agents.knowledge.segment_state import add_segments_to_index, clean_segments, remove_segments_from_index
from streams.delivery import Permanent
from streams.delivery.handler import Handler
from streams.dify.models import Dataset, DatasetCollectionBinding, Document, DocumentSegment, Provider, UploadFile
from streams.dify.vector_stores.port import collection_name, index_struct
from tests.integration.annotations.test_annotation_tenancy import CASES as ANNOTATION_CASES
from tests.integration.apps.test_app_tenancy import CASES as APP_CASES
from tests.support.factories import make_message
from tests.support.platform.cleanup_steps import add_full, image, left, source_file, stored
from tests.support.platform.handler_runs import Site, open_site, prose
from tests.support.platform.provider_rows import make_provider
from tests.support.platform.store_fixtures import of_store

__all__ = ["of_store"]

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
SECTION = "Faults of others"


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Tenant A."""
    async with open_site(database_url, tmp_path / "files") as opened:
        yield opened


@dataclass(frozen=True)
class Victim:
    """Tenant B: a dataset with an indexed document, a waiting one, a disabled one, and a provider."""

    site: Site
    dataset: Dataset
    indexed: Document
    waiting: Document
    disabled: Document
    """Its vectors are still in the index."""
    segment: DocumentSegment
    hidden: DocumentSegment
    """A disabled segment that is still in the index."""
    node: str
    """A vector without a segment."""
    provider: Provider

    async def state(self) -> dict[str, Any]:
        """Return what must not change."""
        dataset_id, documents = self.dataset.id, (self.indexed.id, self.waiting.id, self.disabled.id)
        async with self.site.transaction() as session:
            provider = await session.get_one(Provider, self.provider.id)
            charged = (provider.quota_used, provider.last_used)
        return {
            "rows": await left(self.site, dataset_id=dataset_id),
            "files": {key for key in stored(self.site) if self.site.tenant_id in key},
            "status": [
                (one.indexing_status, one.enabled, one.error)
                for one in [await self.site.document(id_) for id_ in documents]
            ],
            "segments": [
                (one.enabled, one.status, one.keywords) for id_ in documents for one in await self.site.segments(id_)
            ],
            "uploads": await self.site.count(UploadFile, tenant_id=self.site.tenant_id),
            "charged": charged,
        }


@pytest.fixture
async def victim(site: Site) -> Victim:
    other = replace(site, tenant_id=str(uuid4()))
    dataset = await other.add_dataset()
    indexed, waiting = await add_full(other, dataset), await other.add_document(dataset, prose(2))
    disabled = await other.add_document(dataset, prose(1))
    await other.run(index_document, other.request(disabled))
    segment, hidden, deleted = await other.segments(indexed.id)
    async with other.transaction() as session:
        await session.execute(update(Document).where(Document.id == disabled.id).values(enabled=False))
        await session.execute(update(DocumentSegment).where(DocumentSegment.id == hidden.id).values(enabled=False))
        await session.execute(delete(DocumentSegment).where(DocumentSegment.id == deleted.id))
    provider = make_provider(other.tenant_id, quota_used=10)
    await other.add(provider)
    return Victim(other, dataset, indexed, waiting, disabled, segment, hidden, deleted.index_node_id or "", provider)


MakeEvent = Callable[[str | None, Victim], Event]
CASES: list[tuple[Handler[Any], MakeEvent]] = [
    (index_document, lambda tenant, b: DocumentIndexRequested(tenant_id=tenant, **_ids(b.waiting))),
    (sync_document, lambda tenant, b: DocumentSyncRequested(tenant_id=tenant, **_ids(b.indexed))),
    (
        request_document_indexing,
        lambda tenant, b: DocumentIndexCreated(
            tenant_id=tenant, dataset_id=b.dataset.id, document_ids=[b.indexed.id, b.waiting.id]
        ),
    ),
    (
        clean_document,
        lambda tenant, b: DocumentDeleted(
            tenant_id=tenant,
            dataset_id=b.dataset.id,
            document_id=str(uuid4()),
            doc_form="text_model",
            file_id=source_file(b.indexed),
        ),
    ),
    (
        clean_documents,
        lambda tenant, b: DocumentsDeleted(
            tenant_id=tenant,
            dataset_id=b.dataset.id,
            document_ids=[str(uuid4())],
            doc_form="text_model",
            file_ids=[source_file(b.indexed), source_file(b.waiting)],
        ),
    ),
    (
        remove_documents,
        lambda tenant, b: DocumentsRemovalRequested(
            tenant_id=tenant, dataset_id=b.dataset.id, document_ids=[b.indexed.id, b.waiting.id]
        ),
    ),
    (
        clean_dataset,
        lambda tenant, b: DatasetDeleted(
            tenant_id=tenant,
            dataset_id=str(uuid4()),
            index_struct=index_struct("pgvector", b.site.collection(b.dataset.id)),
        ),
    ),
    (add_document_to_index, lambda tenant, b: DocumentEnabled(tenant_id=tenant, document_id=b.disabled.id)),
    (remove_document_from_index, lambda tenant, b: DocumentDisabled(tenant_id=tenant, document_id=b.disabled.id)),
    (
        add_segments_to_index,
        lambda tenant, b: SegmentEnabled(
            tenant_id=tenant, segment_ids=[b.segment.id], keywords=["forged"], **_ids(b.indexed)
        ),
    ),
    (
        remove_segments_from_index,
        lambda tenant, b: SegmentDisabled(tenant_id=tenant, segment_ids=[b.hidden.id], **_ids(b.indexed)),
    ),
    (
        clean_segments,
        lambda tenant, b: SegmentDeleted(
            tenant_id=tenant, index_node_ids=[b.node], child_node_ids=[b.node], **_ids(b.indexed)
        ),
    ),
    (
        rebuild_dataset_index,
        lambda tenant, b: DatasetIndexChanged(tenant_id=tenant, dataset_id=b.dataset.id, action="update"),
    ),
    (
        import_segments,
        lambda tenant, b: SegmentsImportRequested(
            tenant_id=tenant,
            job_id=str(uuid4()),
            upload_file_id=source_file(b.indexed),
            account_id=str(uuid4()),
            **_ids(b.indexed),
        ),
    ),
    (
        charge_message,
        lambda tenant, _: make_message(
            tenant_id=tenant, message_id=str(uuid4()), app_id=str(uuid4()), provider_name="openai"
        ),
    ),
]


def _ids(document: Document) -> dict[str, Any]:
    return {"dataset_id": document.dataset_id, "document_id": document.id}


WITH_THEIR_FAMILY = {
    "delete-account",
    "run-pipeline",
    "save-node-execution",
    "save-workflow-run",
    "upgrade-tenant-plugins",
}
"""Handlers whose case is in the test of their family."""
WITHOUT_ROWS = {"clean-embedding-cache", "forget-collections", "report-job-end", "send-code", "send-mail"}
"""Handlers that read and change no row of a tenant."""
WITHOUT_A_TENANT = {
    "activate-tidb-clusters",
    "check-dead-letters",
    "check-queues",
    "clean-messages",
    "clean-unused-datasets",
    "clean-workflow-runs",
    "create-tidb-clusters",
    "notify-document-owners",
    "request-plugin-checks",
}
"""Handlers whose events name nothing: each row that they find decides whose it is."""


def test_every_handler_has_a_case() -> None:
    """A new handler gets a case here, or in the test of its family."""
    cases = [*CASES, *ANNOTATION_CASES, *APP_CASES]
    assert {handler.name for handler, _ in cases} | WITH_THEIR_FAMILY | WITHOUT_ROWS | WITHOUT_A_TENANT == {
        handler.name for handler in HANDLERS
    }


@pytest.mark.requirement(SECTION, "Tenants: an event of one tenant changes no row of another, for every handler")
@pytest.mark.parametrize(("handler", "make"), CASES, ids=[handler.name for handler, _ in CASES])
async def test_an_event_of_one_tenant_changes_nothing_of_another(
    site: Site, victim: Victim, handler: Handler[Any], make: MakeEvent
) -> None:
    """Rows, vectors, files, the document's status and the quota stay, also when the dead letter is recorded."""
    before = await victim.state()
    await _run_to_the_end(site, handler, make(site.tenant_id, victim))
    assert await victim.state() == before


@pytest.mark.requirement(SECTION, "Tenants: an event of one tenant changes no row of another, for every handler")
async def test_leftovers_of_another_tenant_stay(site: Site, victim: Victim) -> None:
    """Events of one tenant name a document and a dataset whose rows are deleted; what they left is another tenant's."""
    await site.delete(Document, id=victim.indexed.id)
    before = await left(victim.site, document_id=victim.indexed.id)
    event = DocumentDeleted(tenant_id=site.tenant_id, doc_form="text_model", **_ids(victim.indexed))
    with pytest.raises(Permanent, match="belongs to another tenant than the event"):
        await site.run(clean_document, event)
    await site.delete(Dataset, id=victim.dataset.id)
    for handler, forged in (
        (clean_document, event),
        (clean_dataset, DatasetDeleted(tenant_id=site.tenant_id, dataset_id=victim.dataset.id)),
    ):
        with pytest.raises(Permanent, match="belongs to another tenant than the event"):
            await site.run(handler, forged)
    assert await left(victim.site, document_id=victim.indexed.id) == before


@pytest.mark.requirement(SECTION, "M1: without a tenant, a file is deleted only if nothing says whose it is")
async def test_a_file_that_only_an_event_names_stays(site: Site, victim: Victim) -> None:
    """No tenant, an unknown document and an unknown dataset: the file of a tenant that has datasets stays."""
    before, name = await victim.state(), source_file(victim.indexed)
    unknown: dict[str, Any] = {"dataset_id": str(uuid4()), "doc_form": "text_model"}
    one = DocumentDeleted(document_id=str(uuid4()), file_id=name, **unknown)
    assert await site.run(clean_document, one) == {"done": True, "removed": {}, "kept": {"files": 1}}
    several = DocumentsDeleted(document_ids=[str(uuid4())], file_ids=[name], **unknown)
    result = await site.run(clean_documents, several)
    assert isinstance(result, dict)
    assert result["kept"] == {"files": 1}
    assert await victim.state() == before


@pytest.mark.requirement(SECTION, "M1: without a tenant, a file is deleted only if nothing says whose it is")
async def test_a_file_of_a_tenant_that_has_nothing_else_goes(site: Site) -> None:
    """The sender knows no tenant, and the last dataset of the tenant was deleted with the document."""
    file = await image(site, folder="upload_files")
    await site.add(file)
    event = DocumentDeleted(document_id=str(uuid4()), dataset_id=str(uuid4()), doc_form="text_model", file_id=file.id)
    assert await site.run(clean_document, event) == {"done": True, "removed": {"files": 1}}
    assert stored(site) == set()


@pytest.mark.requirement(SECTION, "M3: a document reads only files of its tenant")
@pytest.mark.parametrize("forged", ["row", "key"])
async def test_a_document_reads_no_file_of_another_tenant(site: Site, victim: Victim, forged: str) -> None:
    """The row of the file, or the folder of its key, is another tenant's. The document fails and gets no segment."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, prose(1))
    async with site.transaction() as session:
        theirs = await session.get_one(UploadFile, source_file(victim.indexed))
        if forged == "row":
            mine = await session.get_one(Document, document.id)
            mine.data_source_info = f'{{"upload_file_id": "{theirs.id}"}}'
        else:
            (await session.get_one(UploadFile, source_file(document))).key = theirs.key
    with pytest.raises(Permanent, match=r"another tenant"):
        await site.run(index_document, site.request(document))
    assert await site.segments(document.id) == []


@pytest.mark.requirement(SECTION, "H2: a forged dataset.deleted drops no vectors of a dataset that stands")
async def test_a_forged_name_drops_no_collection(of_store: Site) -> None:
    """Names that contain the event's own id, or that a store truncates to the victim's name."""
    site = of_store
    other = replace(site, tenant_id=str(uuid4()))
    dataset = await other.add_dataset()
    document = await add_full(other, dataset)
    before = await left(other, document_id=document.id, dataset_id=dataset.id)
    assert before["vectors"] == 3
    collection, forged = site.collection(dataset.id), str(uuid4())
    own = forged.replace("-", "_")
    for name in (
        collection,
        collection.upper(),
        f"{collection}_{own}_Node",
        f"{collection}{own}",
        f"{own}_{collection}",
        collection[:53],
        f"{collection[:53]}_{own}",
    ):
        event = DatasetDeleted(
            tenant_id=site.tenant_id, dataset_id=forged, index_struct=index_struct(site.platform.vectors.kind, name)
        )
        await site.run(clean_dataset, event)
        assert await left(other, document_id=document.id, dataset_id=dataset.id) == before, name


@pytest.mark.requirement(SECTION, "H2: a forged dataset.deleted drops no vectors of a dataset that stands")
async def test_the_collection_of_a_binding_is_not_dropped(of_store: Site) -> None:
    """Its name has a random id. An event that gives this id as a deleted dataset's removes nothing of others."""
    site, shared = of_store, str(uuid4())
    name = collection_name("Vector_index", shared)
    binding = DatasetCollectionBinding(
        id=str(uuid4()), provider_name="local", model_name="m", type="dataset", collection_name=name
    )
    await site.add(binding)
    dataset = await site.add_dataset(
        collection_binding_id=binding.id, index_struct=index_struct(site.platform.vectors.kind, name)
    )
    document = await site.add_document(dataset, prose(2))
    await site.run(index_document, site.request(document))
    async with site.transaction() as session:
        before = await site.platform.vectors.count(session, name)
        assert before > 0
    await site.run(clean_dataset, DatasetDeleted(dataset_id=shared, tenant_id=str(uuid4())))
    async with site.transaction() as session:
        assert await site.platform.vectors.count(session, name) == before


async def _run_to_the_end(site: Site, handler: Handler[Any], event: Event) -> None:
    """Run a handler as the engine does: a refusal, its dead letter, and the events that it publishes."""
    if isinstance(event, MessageCreated):
        await site.run_batch(handler, [event])
        return
    try:
        await site.run(handler, event)
    except Permanent as error:
        if handler.on_dead is not None:
            await site.die(handler, event, error)
    for published in await site.published():
        assert isinstance(published, DocumentIndexRequested | DocumentDeleted)
        with suppress(Permanent):
            await site.run(
                index_document if isinstance(published, DocumentIndexRequested) else clean_document, published
            )
