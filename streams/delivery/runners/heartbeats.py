"""Calls a long handler, with heartbeats in the background that keep its lease."""

import asyncio

from schemas import Event
from streams.delivery.delivery import Delivery
from streams.delivery.errors import LeaseLostError
from streams.delivery.execution.attempt import LongWork
from streams.delivery.execution.processor_time import THREAD_CLOCK
from streams.delivery.execution.time_limits import run_within
from streams.delivery.handler import JSON, Handler
from streams.delivery.scheduling.cancellation import cancel_task
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
HEARTBEATS_PER_LEASE = 3
REPEATS_PER_HEARTBEAT = 10
"""Number of times that a failed heartbeat is repeated until the next one would be due."""


async def run_with_heartbeats(delivery: Delivery, work: LongWork, lease_seconds: float) -> JSON:
    """Call the handler, and cancel it when a heartbeat finds the lease lost. Return its result.

    After its final step there is no lease, and the delivery has succeeded. The handler goes on within its time limits.
    An error that it raises then is only logged.

    Args:
        delivery: What runs.
        work: Its work, with the lease.
        lease_seconds: How long the lease lasts without a heartbeat.

    Raises:
        LeaseLostError: The lease was lost before the final step.
    """
    running = asyncio.create_task(_run_within_limits(delivery.handler, delivery.event, work))
    heartbeats = asyncio.create_task(_keep_lease(work, lease_seconds))
    try:
        await asyncio.wait({running, heartbeats}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done() and not work.finished:
            cancel_task(running)
            await asyncio.wait({running})
            problem = "the lease expired while the handler ran"
            raise LeaseLostError(problem)
        await asyncio.wait({running})
        return _result(running, work)
    except asyncio.CancelledError:
        cancel_task(running)
        await asyncio.wait({running})
        raise
    finally:
        heartbeats.cancel()


def _result(ended: "asyncio.Task[JSON]", work: LongWork) -> JSON:
    try:
        return ended.result()
    except Exception:
        if not work.finished:
            raise
        log.exception("handler failed after its final step; its delivery has succeeded", fault="handler")
        return None


async def _keep_lease(work: LongWork, lease_seconds: float) -> None:
    """Extend the lease until it is lost or the final step has ended. Other failures are logged, and soon repeated."""
    interval = lease_seconds / HEARTBEATS_PER_LEASE
    pause = interval
    while True:
        await asyncio.sleep(pause)
        if work.finished:
            return
        try:
            await work.heartbeat()
        except LeaseLostError:
            if not work.finishing:
                return
            # The final step has released the lease, and its COMMIT returns soon.
            pause = interval / REPEATS_PER_HEARTBEAT
        except Exception as error:  # noqa: BLE001 - only a lost lease may end the handler
            pause = interval / REPEATS_PER_HEARTBEAT
            log.warning("heartbeat failed; repeating", error=message(error), retry_in_seconds=pause)
        else:
            pause = interval


async def _run_within_limits(handler: Handler[Event], event: Event, work: LongWork) -> JSON:
    """Run the handler within its time limits, and add its processor time."""
    began = THREAD_CLOCK.seconds()
    try:
        return await run_within(_call(handler, event, work), handler.soft_time_limit, handler.time_limit, spent=work)
    finally:
        work.processor_seconds += THREAD_CLOCK.seconds() - began


async def _call(handler: Handler[Event], event: Event, work: LongWork) -> JSON:
    return await handler.function(event, work)
