"""Handlers of TiDB serverless clusters: create free ones, and see when they can be used."""

from schemas import TidbClustersRequested, TidbStatusRequested
from schemas.event import new_event_id
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Backoff, Permanent, Work, handles
from streams.delivery.handler import JSON
from streams.dify.errors import ServiceError, TidbAwayError
from streams.dify.retention.step import STEP_SECONDS, start_budget
from streams.dify.tidb.bindings import add_bindings, count_free, creating_after, is_only_run, mark_active
from streams.dify.tidb.client import BATCH, NAME, Tidb
from streams.schedules.steps import continue_run


@handles(
    TidbClustersRequested,
    retry=Backoff(first="1m", factor=5, attempts=3),
    soft_time_limit="80s",
    time_limit="100s",
)
async def create_tidb_clusters(event: TidbClustersRequested, work: Work) -> JSON:
    """Create one batch of clusters if too few are free. While they are too few, each step publishes the next one.

    A failure is a counted attempt, also if the service does not answer: the request may have created clusters, which
    cost money, so it is repeated seldom. A step that creates nothing fails. So no run goes on without an end.
    """
    tidb = _configured(work)
    if not await is_only_run(work.session):
        return {"done": True, "created": 0, "why": "another run creates clusters"}
    missing = tidb.free_clusters - await count_free(work.session, tidb.free_clusters)
    if missing <= 0:
        return {"done": True, "created": 0}
    with mapped_errors():
        try:
            created = await tidb.create(missing)
        except TidbAwayError as error:
            raise ServiceError(str(error)) from error
    if not created:
        message = f"{NAME} has confirmed none of the requested clusters"
        raise ServiceError(message)
    add_bindings(work.session, created)
    done = len(created) >= missing
    if not done:
        await continue_run(work, event, event.model_copy(update={"event_id": new_event_id()}))
    return {"done": done, "created": len(created)}


@handles(
    TidbStatusRequested,
    retry=Backoff(first="30s", factor=3, attempts=5),
    soft_time_limit="80s",
    time_limit="100s",
    needs=TidbAwayError.service,
)
async def activate_tidb_clusters(event: TidbStatusRequested, work: Work) -> JSON:
    """Ask for the state of the clusters that are being created, and write which of them can be used."""
    tidb = _configured(work)
    checked, activated, cursor, budget = 0, 0, event.cursor, start_budget(STEP_SECONDS)
    while asked := await creating_after(work.session, cursor, BATCH):
        with mapped_errors():
            active = await tidb.active([one.cluster_id for one in asked])
        checked, cursor = checked + len(asked), asked[-1].id
        activated += await mark_active(work.session, asked, active)
        if budget.is_spent:
            await continue_run(work, event, event.model_copy(update={"event_id": new_event_id(), "cursor": cursor}))
            return {"done": False, "checked": checked, "activated": activated}
    return {"done": True, "checked": checked, "activated": activated}


def _configured(work: Work) -> Tidb:
    tidb = work.use(Tidb)
    if tidb.url is None:
        message = "TiDB clusters cannot be managed: set STREAMS_TIDB_API_URL"
        raise Permanent(message)
    return tidb


HANDLERS = (create_tidb_clusters, activate_tidb_clusters)
