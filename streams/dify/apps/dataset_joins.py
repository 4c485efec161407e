"""Joins an app with the datasets that it uses: the rows by which the platform knows which apps use a dataset."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, any_, delete, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.apps.named_datasets import datasets_of_config, datasets_of_workflow
from streams.dify.errors import RowMissingError
from streams.dify.ids import optional_id
from streams.dify.models import App, AppDatasetJoin, AppModelConfig, Dataset, Workflow
from streams.dify.sql import affected_rows
from streams.dify.tenancy import one_tenant

WORKFLOW_MODES = {"workflow", "advanced-chat"}
"""The modes of apps that run their published workflow. All other apps have a configuration."""


@dataclass(frozen=True, slots=True)
class JoinChange:
    """How many joins were changed."""

    added: int
    removed: int
    skipped: int
    """Datasets that the app names, and that do not exist or belong to another tenant."""


async def join_datasets(session: AsyncSession, app: App, named: set[str]) -> JoinChange:
    """Give an app exactly one join with each of these datasets, and no other. A dataset of another tenant is skipped.

    The transaction must hold the lock of the app's row. The datasets' rows are locked against deletion. So the clean-up
    of a dataset that is deleted at the same time finds the join.
    """
    own = select(Dataset.id).where(Dataset.id == any_(_array(named)), Dataset.tenant_id == app.tenant_id)
    wanted = set(await session.scalars(own.order_by(Dataset.id).with_for_update(read=True, key_share=True)))
    existing = select(AppDatasetJoin.id, AppDatasetJoin.dataset_id).where(AppDatasetJoin.app_id == app.id)
    kept: set[str] = set()
    surplus: list[str] = []
    for join_id, dataset_id in await session.execute(existing.order_by(AppDatasetJoin.created_at)):
        if dataset_id in wanted and dataset_id not in kept:
            kept.add(dataset_id)
        else:
            surplus.append(join_id)
    removed = await affected_rows(session, delete(AppDatasetJoin).where(AppDatasetJoin.id == any_(_array(surplus))))
    missing = sorted(wanted - kept)
    if missing:
        await session.execute(insert(AppDatasetJoin), [{"app_id": app.id, "dataset_id": one} for one in missing])
    return JoinChange(added=len(missing), removed=removed, skipped=len(named - wanted))


async def current_datasets(
    session: AsyncSession, app: App, *, config_id: str | None = None, workflow_id: str | None = None
) -> set[str]:
    """Return the ids of the datasets that the app's current configuration or published workflow names.

    An event may be older than the rows, and also newer than what is committed. So the rows decide, and they must
    contain what the event names.

    Args:
        session: The transaction. It must hold the lock of the app's row.
        app: The app. Its mode decides whether its workflow or its configuration counts.
        config_id: The configuration that the event names.
        workflow_id: The workflow that the event names.

    Raises:
        RowMissingError: The current or the named row is not there (yet).
        RefusedError: An id is not a UUID, or a named row belongs to another tenant.
    """
    if app.mode in WORKFLOW_MODES:
        return await _of_workflow(session, app, optional_id("workflow_id", workflow_id))
    return await _of_config(session, app, optional_id("app_model_config_id", config_id))


async def _of_workflow(session: AsyncSession, app: App, workflow_id: str | None) -> set[str]:
    # An older version may have been deleted. So only the current one must exist.
    ids = [one for one in (app.workflow_id, workflow_id) if one is not None]
    found = {one.id: one for one in await session.scalars(select(Workflow).where(Workflow.id.in_(ids)))}
    one_tenant((f"app {app.id}", app.tenant_id), *((f"workflow {one.id}", one.tenant_id) for one in found.values()))
    current = found.get(app.workflow_id or "")
    if current is None and ids:
        message = f"the published workflow of app {app.id} has no row, or the app does not name it (yet)"
        raise RowMissingError(message)
    return datasets_of_workflow(current) if current is not None else set()


async def _of_config(session: AsyncSession, app: App, config_id: str | None) -> set[str]:
    # The platform sends one of these signals before its commit. Then the app still names its previous configuration.
    ids = {one for one in (app.app_model_config_id, config_id) if one is not None}
    query = select(AppModelConfig).where(AppModelConfig.id.in_(ids), AppModelConfig.app_id == app.id)
    found = {one.id: one for one in await session.scalars(query)}
    if absent := ids - found.keys():
        message = f"the configuration {min(absent)} of app {app.id} has no row"
        raise RowMissingError(message)
    current = found.get(app.app_model_config_id or "")
    return datasets_of_config(current) if current is not None else set()


def _array(ids: Collection[str]) -> ColumnElement[Sequence[str]]:
    return literal(list(ids), ARRAY(Dataset.id.type))
