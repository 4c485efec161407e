"""Deletes everything that a deleted app has left, in bounded steps, and checks that nothing is left.

Everything is found by the app's id, so it works after the app's row is deleted.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from sqlalchemy import Table, and_, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.annotations.index import annotation_collection
from streams.dify.cleanup.bounded_deletion import DeletionStep, Rows, lock_cleanup, table_of, tables_with_rows
from streams.dify.cleanup.messages import remove_conversations, remove_messages
from streams.dify.cleanup.workflow_data import (
    remove_draft_files,
    remove_draft_variables,
    remove_node_executions,
    remove_offloads,
)
from streams.dify.errors import RefusedError
from streams.dify.models import (
    ApiToken,
    App,
    AppAnnotationHitHistory,
    AppAnnotationSetting,
    AppDatasetJoin,
    AppMcpServer,
    AppModelConfig,
    Conversation,
    Dataset,
    EndUser,
    InstalledApp,
    Message,
    MessageAnnotation,
    MessageFeedback,
    Model,
    PinnedConversation,
    Pipeline,
    RecommendedApp,
    SavedMessage,
    Site,
    TagBinding,
    ToolWorkflowProvider,
    TraceAppConfig,
    Workflow,
    WorkflowAppLog,
    WorkflowConversationVariable,
    WorkflowDraftVariable,
    WorkflowDraftVariableFile,
    WorkflowNodeExecution,
    WorkflowNodeExecutionOffload,
    WorkflowRun,
)
from streams.dify.platform import Platform
from streams.dify.tenancy import of_event, one_tenant
from streams.dify.vector_collections import has_other_users

Part = Callable[[], Awaitable[bool]]
"""Deletes some rows of a kind. Returns whether nothing of the kind is left, except rows that cannot be deleted."""


def _tables(*models: type[Model]) -> tuple[Table, ...]:
    return tuple(table_of(model) for model in models)


_ACCESS = _tables(Site, ApiToken, AppMcpServer, ToolWorkflowProvider, RecommendedApp, TraceAppConfig, TagBinding)
"""How others reach the app. These go first."""
_OF_USERS = _tables(
    SavedMessage,
    MessageFeedback,
    MessageAnnotation,
    AppAnnotationHitHistory,
    PinnedConversation,
    WorkflowConversationVariable,
)
"""Rows that messages and conversations may have left, if those were deleted without them."""
_OF_WORKFLOWS = _tables(WorkflowAppLog, WorkflowRun, Workflow, AppModelConfig)
_WITHOUT_INDEX = _tables(EndUser, AppDatasetJoin)
"""No index begins with the app, or with the tenant and the app. So they are read when the large tables are empty."""
_LAST = _tables(AppAnnotationSetting, InstalledApp)
"""Which annotation index the app has, and whose app it was. Earlier parts need them."""
_WITH_PARTS = _tables(
    Message,
    Conversation,
    WorkflowNodeExecution,
    WorkflowDraftVariable,
    WorkflowDraftVariableFile,
    WorkflowNodeExecutionOffload,
)
APP_TABLES = (*_ACCESS, *_OF_USERS, *_OF_WORKFLOWS, *_WITH_PARTS, *_WITHOUT_INDEX, *_LAST)
"""All tables that name an app."""


async def app_exists(session: AsyncSession, app_id: str, event_tenant: str | None) -> bool:
    """Return whether the app's row (still) exists.

    Raises ForeignTenantError if it is not the event's tenant's, and RefusedError if the id is a dataset's or a
    pipeline's: these have vectors and workflows under their ids, as apps have.
    """
    owner = await session.scalar(select(App.tenant_id).where(App.id == app_id))
    one_tenant(of_event(event_tenant), (f"app {app_id}", owner))
    for kind in (Dataset, Pipeline):
        if await session.scalar(select(exists().where(kind.id == app_id))):
            message = f"app_id {app_id} is the id of a {kind.__name__.lower()}"
            raise RefusedError(message)
    return owner is not None


async def clean_deleted_app(
    session: AsyncSession, platform: Platform, app_id: str, event_tenant: str | None
) -> DeletionStep:
    """Execute one step after the deletion of an app.

    Raises RefusedError, ForeignTenantError, and LeftBehindError if rows are left that cannot be deleted.
    """
    await lock_cleanup(session, f"app {app_id}")
    tenant_id = await _tenant(session, app_id, event_tenant)
    step = DeletionStep(session, platform, f"app {app_id}", tenant_id)
    for part in _parts(step, app_id):
        if not await part():
            return step
    conditions = [(table, rows_of_app(table, app_id, tenant_id)) for table in APP_TABLES]
    step.finish(await tables_with_rows(session, conditions))
    return step


def rows_of_app(table: Table, app_id: str, tenant_id: str | None) -> Rows:
    """Return a condition for the rows of an app in a table, of its tenant only."""
    of_app: Rows = table.c["target_id" if table.name == TagBinding.__tablename__ else "app_id"] == app_id
    owner = "app_owner_tenant_id" if table.name == InstalledApp.__tablename__ else "tenant_id"
    if tenant_id is None or owner not in table.c:
        return of_app
    column = table.c[owner]
    return and_(of_app, or_(column == tenant_id, column.is_(None)) if column.nullable else column == tenant_id)


def _parts(step: DeletionStep, app_id: str) -> Sequence[Part]:
    """Return the parts of a step, in their order. Tables without a fitting index come late."""

    def of_app(table: Table) -> Rows:
        return rows_of_app(table, app_id, step.tenant_id)

    def plain(tables: Sequence[Table]) -> list[Part]:
        return [partial(step.emptied, table, of_app(table)) for table in tables]

    return (
        *plain(_ACCESS),
        partial(remove_messages, step, of_app(table_of(Message))),
        partial(remove_conversations, step, app_id),
        *plain(_OF_USERS),
        partial(remove_node_executions, step, of_app(table_of(WorkflowNodeExecution))),
        partial(remove_draft_variables, step, app_id),
        *plain(_OF_WORKFLOWS),
        *plain(_WITHOUT_INDEX),
        partial(remove_draft_files, step, of_app(table_of(WorkflowDraftVariableFile))),
        partial(remove_offloads, step, of_app(table_of(WorkflowNodeExecutionOffload))),
        partial(_drop_annotation_index, step, app_id),
        *plain(_LAST),
    )


async def _drop_annotation_index(step: DeletionStep, app_id: str) -> bool:
    """Delete the app's annotations from the vector store. In a collection that others use, only the app's go."""
    session, platform = step.session, step.platform
    settings = select(AppAnnotationSetting.collection_binding_id).where(AppAnnotationSetting.app_id == app_id)
    bindings = [None, *await session.scalars(settings)]
    for collection in sorted({await annotation_collection(session, platform, app_id, one) for one in bindings}):
        shared = await has_other_users(session, collection, app_id)
        if await platform.vectors.drop(session, collection, app_id, shared=shared):
            step.removed["collections"] += 1
            step.collections.append(collection)
    return True


async def _tenant(session: AsyncSession, app_id: str, event_tenant: str | None) -> str | None:
    """Return the tenant of a deleted app. The rows that it has left say it too. Raises ForeignTenantError."""
    installed = select(InstalledApp.app_owner_tenant_id).where(InstalledApp.app_id == app_id).limit(1)
    token = select(ApiToken.tenant_id).where(ApiToken.app_id == app_id, ApiToken.tenant_id.is_not(None)).limit(1)
    return one_tenant(
        of_event(event_tenant),
        (f"the installation of app {app_id}", await session.scalar(installed)),
        (f"an API key of app {app_id}", await session.scalar(token)),
    )
