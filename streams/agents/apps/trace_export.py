"""Handler for recorded traces: sends them to the provider that the app has chosen."""

import re

from schemas import TraceRecorded
from schemas.event import new_event_id
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Backoff, Retry, Work, handles
from streams.delivery.handler import JSON
from streams.dify.credentials.tenant_secrets import TenantSecrets
from streams.dify.errors import RefusedError, Stopped
from streams.dify.ids import checked_id, valid_ids
from streams.dify.platform import Platform
from streams.dify.tenancy import tenant_of_app
from streams.dify.traces.config import load_config, read_values
from streams.dify.traces.nodes import load_nodes
from streams.dify.traces.payload import build_trace, read_payload
from streams.storage import FileMissingError

_FILE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
FAILURES = "FAILED_OPS_TRACE_{}"
"""The platform's key in Redis that counts the traces of an app that were never sent."""


def trace_resource(event: TraceRecorded) -> str:
    """Return the resource that sending this trace locks."""
    return f"trace:{event.file_id}"


async def count_failed_trace(event: TraceRecorded, work: Work, error: BaseException) -> None:  # noqa: ARG001 - on_dead
    """Count the failure as the platform does. The payload stays, so the dead letter can be replayed."""
    if event.sent:
        return  # It was sent. Only its payload could not be deleted.
    try:
        app_id = checked_id("app_id", event.app_id)
        await tenant_of_app(work.session, app_id, event.tenant_id)
    except RefusedError:
        return  # There is no such app, or it is another tenant's.
    await work.use(Platform).keys.increment(FAILURES.format(app_id))


@handles(
    TraceRecorded,
    kind="long",
    resource=trace_resource,
    retry=Backoff(first="10s", factor=6, attempts=6),
    soft_time_limit="2m",
    time_limit="3m",
    needs="storage",
    on_dead=count_failed_trace,
)
async def send_trace(event: TraceRecorded, work: Work) -> JSON:
    """Send the trace. The event that deletes its payload is published in the transaction that records the success.

    A trace that nobody wants any more is skipped, and its payload is deleted too: the app is gone, or a person has
    turned its tracing off.
    """
    platform = work.use(Platform)
    with mapped_errors():
        app_id = checked_id("app_id", event.app_id)
        key = f"ops_trace/{app_id}/{_checked_file_id(event.file_id)}.json"
        if event.sent:
            async with work.step() as session:
                await tenant_of_app(session, app_id, event.tenant_id)
            await platform.storage.delete(key)
            return {"deleted": key}
        try:
            result = await _send(event, work, platform, key)
        except Stopped as stopped:
            result = {"skipped": str(stopped)}
        async with work.step(final=True):
            await work.publish(event.model_copy(update={"event_id": new_event_id(), "sent": True}))
    return result


async def _send(event: TraceRecorded, work: Work, platform: Platform, key: str) -> dict[str, JSON]:
    app_id = checked_id("app_id", event.app_id)
    async with work.step() as session:
        config = await load_config(session, app_id, event.tenant_id)
    platform.traces.check(config.provider)
    try:
        content = await platform.storage.read(key)
    except FileMissingError as error:
        raise Retry(str(error)) from error
    payload = read_payload(content, app_id, event.file_id, event.occurred_at)
    nodes = []
    for run_id in valid_ids(filter(None, [payload.workflow_run_id])):
        async with work.step() as session:
            nodes = await load_nodes(session, config.tenant_id, app_id, run_id)
    trace = build_trace(payload, nodes)
    values = await read_values(config, TenantSecrets(platform.storage, config.tenant_id))
    await platform.traces.provider(config.provider, values).send(trace)
    return {"provider": config.provider, "spans": len(trace.spans)}


def _checked_file_id(file_id: str) -> str:
    if not _FILE_ID.fullmatch(file_id):
        message = f"file_id {file_id[:100]!r} is not the name of a payload"
        raise RefusedError(message)
    return file_id


HANDLERS = (send_trace,)
