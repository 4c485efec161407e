"""Handlers for segments that were enabled, disabled or deleted: the index gets or loses them."""

from collections.abc import Sequence
from contextlib import suppress

from schemas import SegmentDeleted, SegmentDisabled, SegmentEnabled
from schemas.event import new_event_id
from streams.agents.error_mapping import mapped_errors
from streams.agents.knowledge.document_indexing import document_resource
from streams.agents.knowledge.document_state import write
from streams.delivery import Backoff, Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.errors import RefusedError, Stopped
from streams.dify.ids import checked_id, optional_id, valid_ids
from streams.dify.platform import Platform
from streams.dify.reindexing import segments
from streams.dify.reindexing.document import finish
from streams.dify.reindexing.segments import SEGMENTS_PER_STEP, Gone, Place
from streams.observability.error_text import owner_message

SegmentsChanged = SegmentEnabled | SegmentDisabled


async def record_failed_enabling(event: SegmentEnabled, work: Work, error: BaseException) -> None:
    """Disable the segments, with the status error and the reason."""
    with suppress(RefusedError):  # No segment of this tenant has such an id.
        place, segment_ids = _place(event), valid_ids(event.segment_ids)
        await segments.record_not_enabled(work.session, place, segment_ids, owner_message(error))
        await _clear(segment_ids, work.use(Platform))


async def record_failed_disabling(event: SegmentDisabled, work: Work, error: BaseException) -> None:  # noqa: ARG001 - the platform has no place for the reason
    """Enable the segments again."""
    with suppress(RefusedError):  # No segment of this tenant has such an id.
        await segments.record_not_disabled(work.session, _place(event), valid_ids(event.segment_ids))
        await _clear(event.segment_ids, work.use(Platform))


@handles(
    SegmentEnabled,
    kind="long",
    resource=document_resource,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="10m",
    time_limit="12m",
    needs=("embeddings", "storage"),
    on_dead=record_failed_enabling,
)
async def add_segments_to_index(event: SegmentEnabled, work: Work) -> JSON:
    """Write the vectors or keywords of enabled segments, also of segments that were just created.

    Segments that were disabled or deleted since are left out. If the document is disabled or archived, nothing is done:
    its segments are loaded when it is enabled.
    """
    platform = work.use(Platform)
    try:
        with mapped_errors():
            place, segment_ids = _place(event), _checked(event.segment_ids)
            async with work.step() as session:
                target = await segments.enable(session, platform, place, segment_ids, event.keywords)
            await write(target, work, platform)
            async with work.step(final=True) as session:
                result: dict[str, JSON] = {**await finish(session, platform, target)}
    except Stopped as stopped:
        result = {"skipped": str(stopped)}
    await _clear(event.segment_ids, platform)
    return result


@handles(SegmentDisabled, needs=("storage",), on_dead=record_failed_disabling)
async def remove_segments_from_index(event: SegmentDisabled, work: Work) -> JSON:
    """Delete the vectors and keywords of disabled segments, whatever state the document has.

    Segments that were enabled since stay. It works in bounded steps; each step publishes the event of the next one.
    """
    platform = work.use(Platform)
    result: dict[str, JSON]
    try:
        with mapped_errors():
            place, segment_ids = _place(event), _checked(event.segment_ids)
            some, rest = segment_ids[:SEGMENTS_PER_STEP], segment_ids[SEGMENTS_PER_STEP:]
            result = {"segments": await segments.disable(work.session, platform, place, some), "done": not rest}
    except Stopped as stopped:
        some, rest, result = segment_ids, [], {"skipped": str(stopped)}
    if rest:
        await work.publish(event.model_copy(update={"event_id": new_event_id(), "segment_ids": rest}))
    await _clear(some, platform)
    return result


@handles(SegmentDeleted, needs=("storage",))
async def clean_segments(event: SegmentDeleted, work: Work) -> JSON:
    """Delete the vectors, keywords and child chunks of deleted segments, whatever state the document has.

    It retries while one of the rows still exists. It works in bounded steps; each step publishes the event of the next
    one.
    """
    platform = work.use(Platform)
    nodes = list(dict.fromkeys(node for node in event.index_node_ids if node))
    children = list(dict.fromkeys(event.child_node_ids))
    with mapped_errors():
        place = _place(event)
        gone = Gone(nodes[:SEGMENTS_PER_STEP], children[:SEGMENTS_PER_STEP])
        if (row := await segments.remaining_row(work.session, place, gone)) is not None:
            message = f"segment {row} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        removed = await segments.clean(work.session, platform, place, gone)
    nodes, children = nodes[SEGMENTS_PER_STEP:], children[SEGMENTS_PER_STEP:]
    done = not (nodes or children) and removed["child_chunks"] < SEGMENTS_PER_STEP
    if not done:
        rest = {"event_id": new_event_id(), "index_node_ids": nodes, "child_node_ids": children}
        await work.publish(event.model_copy(update=rest))
    deleted = segments.own_segment_ids(gone.node_ids)
    keys = ("segment_{}_delete_indexing", "segment_{}_indexing")
    await platform.keys.delete(*(key.format(one) for one in deleted for key in keys))
    return {"done": done, "removed": {name: count for name, count in removed.items() if count}}


def _place(event: SegmentsChanged | SegmentDeleted) -> Place:
    return Place(
        checked_id("dataset_id", event.dataset_id),
        checked_id("document_id", event.document_id),
        optional_id("tenant_id", event.tenant_id),
    )


def _checked(segment_ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(checked_id("segment_ids", each) for each in segment_ids))


async def _clear(segment_ids: Sequence[str], platform: Platform) -> None:
    """Delete the platform's keys that refuse the next change of the segments."""
    await platform.keys.delete(*(f"segment_{segment_id}_indexing" for segment_id in segment_ids))


HANDLERS = (add_segments_to_index, remove_segments_from_index, clean_segments)
