"""Tenants are apart: an event of one tenant changes nothing of another's annotations, traces and files."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from schemas import (
    AnnotationAdded,
    AnnotationDeleted,
    AnnotationReplyDisabled,
    AnnotationReplyEnabled,
    AnnotationRow,
    AnnotationsImportRequested,
    AnnotationUpdated,
    DatasetDeleted,
    DraftVariableFile,
    Event,
    TraceRecorded,
    WorkflowDraftVariablesDeleted,
)
from streams.agents.annotations import annotation_import, annotation_index, annotation_reply
from streams.agents.apps import draft_variables, trace_export
from streams.agents.knowledge.dataset_cleanup import clean_dataset
from streams.delivery import Permanent
from streams.delivery.handler import Handler
from streams.dify.embedding.local import MODEL, PROVIDER
from streams.dify.models import (
    App,
    AppAnnotationSetting,
    MessageAnnotation,
    UploadFile,
    WorkflowDraftVariableFile,
)
from tests.support.fakes.trace_server import TraceServer, trace_server
from tests.support.platform.annotation_rows import add_annotations, add_setting, added, indexed
from tests.support.platform.cleanup_steps import image, left, stored
from tests.support.platform.handler_runs import Site, open_site
from tests.support.traces.trace_payloads import add_traced_app, message_info, record

SECTION = "Faults of others"


@dataclass(frozen=True)
class Victim:
    """Tenant B: an app with two annotations, one of them indexed; a recorded trace; a file of a draft variable."""

    site: Site
    app: App
    setting: AppAnnotationSetting
    annotations: list[MessageAnnotation]
    trace: TraceRecorded
    file: WorkflowDraftVariableFile

    async def state(self) -> dict[str, Any]:
        """Return what must not change."""
        return {
            "rows": await left(self.site, app_id=self.app.id),
            "index": await indexed(self.site, self.app.id),
            "uploads": await self.site.count(UploadFile, tenant_id=self.site.tenant_id),
            "files": stored(self.site),
        }

    def annotation(self, tenant_id: str) -> dict[str, Any]:
        """Return the fields of an event about the annotation that is not indexed."""
        event = added(self.site, self.annotations[1], self.setting)
        return {**event.model_dump(exclude={"event_id", "occurred_at"}), "tenant_id": tenant_id}


@pytest.fixture
def server() -> Iterator[TraceServer]:
    with trace_server() as started:
        yield started


@pytest.fixture
async def victim(database_url: str, tmp_path: Path, server: TraceServer) -> AsyncIterator[Victim]:
    async with open_site(database_url, tmp_path / "files") as site:
        app = await add_traced_app(site, server.url)
        setting = await add_setting(site, app)
        annotations = await add_annotations(site, app, "Indexed?", "Not indexed?")
        await site.run(annotation_index.index_added_annotation, added(site, annotations[0], setting))
        upload = await image(site, folder="upload_files")
        file = WorkflowDraftVariableFile(
            id=str(uuid4()),
            tenant_id=site.tenant_id,
            app_id=app.id,
            user_id=str(uuid4()),
            upload_file_id=upload.id,
            size=7,
            value_type="string",
        )
        await site.add(upload, file)
        trace = await record(site, app, "MessageTraceInfo", message_info(str(uuid4())))
        yield Victim(site, app, setting, annotations, trace, file)


MakeEvent = Callable[[str, Victim], Event]


def _job(tenant_id: str, victim: Victim) -> dict[str, Any]:
    return {"tenant_id": tenant_id, "job_id": str(uuid4()), "app_id": victim.app.id}


def _enabled(tenant_id: str, victim: Victim, cursor: str | None) -> Event:
    return AnnotationReplyEnabled(
        **_job(tenant_id, victim),
        account_id=str(uuid4()),
        score_threshold=0.5,
        embedding_provider_name=PROVIDER,
        embedding_model_name=MODEL,
        cursor=cursor,
    )


CASES: list[tuple[Handler[Any], MakeEvent]] = [
    (annotation_index.index_added_annotation, lambda tenant, b: AnnotationAdded(**b.annotation(tenant))),
    (annotation_index.index_updated_annotation, lambda tenant, b: AnnotationUpdated(**b.annotation(tenant))),
    (
        annotation_index.remove_deleted_annotation,
        lambda tenant, b: AnnotationDeleted(
            tenant_id=tenant,
            app_id=b.app.id,
            annotation_id=b.annotations[0].id,
            collection_binding_id=b.setting.collection_binding_id,
        ),
    ),
    (annotation_reply.enable_annotation_reply, lambda tenant, b: _enabled(tenant, b, None)),
    (annotation_reply.enable_annotation_reply, lambda tenant, b: _enabled(tenant, b, annotation_reply.FIRST)),
    (annotation_reply.disable_annotation_reply, lambda tenant, b: AnnotationReplyDisabled(**_job(tenant, b))),
    (
        annotation_import.import_annotations,
        lambda tenant, b: AnnotationsImportRequested(
            **_job(tenant, b), account_id=str(uuid4()), rows=[AnnotationRow(question="Forged?", answer="Yes.")]
        ),
    ),
    (
        trace_export.send_trace,
        lambda tenant, b: TraceRecorded(tenant_id=tenant, app_id=b.app.id, file_id=b.trace.file_id),
    ),
    (
        draft_variables.delete_draft_variable_files,
        lambda tenant, b: WorkflowDraftVariablesDeleted(
            tenant_id=tenant,
            files=[DraftVariableFile(draft_variable_id=str(uuid4()), draft_variable_file_id=b.file.id)],
        ),
    ),
]
"""The handlers of this family. The test of all handlers counts them."""


@pytest.mark.requirement(SECTION, "Tenants: an event of one tenant changes no row of another, for every handler")
async def test_an_event_of_one_tenant_changes_nothing_of_another(victim: Victim, server: TraceServer) -> None:
    """Each event dies. Rows, index and files stay, also when the dead letter is recorded, and nothing is sent."""
    before = await victim.state()
    other = replace(victim.site, tenant_id=str(uuid4()))
    for handler, make in CASES:
        event = make(other.tenant_id, victim)
        with pytest.raises(Permanent, match="belongs to another tenant than the event") as found:
            await other.run(handler, event)
        if handler.on_dead is not None:
            await other.die(handler, event, found.value)
        assert await victim.state() == before, handler.name
        assert await other.published() == []
    assert server.requests == []


@pytest.mark.requirement(SECTION, "H2: a forged dataset.deleted drops no vectors of a dataset that stands")
async def test_a_dataset_with_the_id_of_an_app_is_refused(victim: Victim) -> None:
    """The annotations of an app have a collection with the app's id. No dataset has the same id."""
    before = await victim.state()
    for tenant_id in (None, str(uuid4()), victim.site.tenant_id):
        with pytest.raises(Permanent, match="is the id of an app"):
            await victim.site.run(clean_dataset, DatasetDeleted(dataset_id=victim.app.id, tenant_id=tenant_id))
    assert await victim.state() == before
