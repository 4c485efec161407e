"""Documents of the platform's pipelines are left to the platform."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas import DocumentSyncRequested, Event
from streams.agents.knowledge.document_indexing import index_document
from streams.agents.knowledge.document_sync import sync_document
from streams.delivery import Permanent
from streams.delivery.handler import Handler
from streams.dify.models import Document
from tests.support.platform.handler_runs import Site, open_site


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


async def _pipeline_document(site: Site, **columns: object) -> Document:
    dataset = await site.add_dataset(runtime_mode="rag_pipeline", chunk_structure="text_model")
    known = {"data_source_type": "local_file", "dataset_process_rule_id": None}
    return await site.add_document(dataset, b"text", **{**known, **columns})  # type: ignore[arg-type]  # columns


@pytest.mark.requirement(
    "Faults of others", "S6: a document of a pipeline keeps the platform's own error, and is refused"
)
@pytest.mark.parametrize("kind", ["index", "sync"])
@pytest.mark.parametrize(
    ("error", "shown"), [("the platform's own words", "the platform's own words"), (None, "made by")]
)
async def test_a_pipeline_document_is_refused(site: Site, kind: str, error: str | None, shown: str) -> None:
    """The dead letter says why. The document can be tried again on the platform and keeps its error text."""
    document = await _pipeline_document(site, error=error)
    handler: Handler[Event] = index_document if kind == "index" else sync_document
    event: Event = site.request(document)
    if kind == "sync":
        event = DocumentSyncRequested(tenant_id=site.tenant_id, dataset_id=document.dataset_id, document_id=document.id)
    with pytest.raises(Permanent, match="made by a pipeline of the platform") as refused:
        await site.run(handler, event)
    await site.die(handler, event, refused.value)
    now = await site.document(document.id)
    assert now.indexing_status == "error"
    assert shown in str(now.error)


@pytest.mark.requirement(
    "Faults of others", "S6: a document of a pipeline keeps the platform's own error, and is refused"
)
async def test_a_pipeline_that_runs_is_not_disturbed(site: Site) -> None:
    """Its status stays, whatever becomes of the request."""
    document = await _pipeline_document(site, indexing_status="indexing")
    with pytest.raises(Permanent) as refused:
        await site.run(index_document, site.request(document))
    await site.die(index_document, site.request(document), refused.value)
    now = await site.document(document.id)
    assert (now.indexing_status, now.error) == ("indexing", None)
