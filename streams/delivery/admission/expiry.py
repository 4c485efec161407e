"""Finds expired deliveries: no attempt starts at or after the event's `ce_expirytime`."""

from collections.abc import Callable, Sequence

from streams import headers
from streams.delivery.delivery import Delivery, at_ms, now_ms


def expired(deliveries: Sequence[Delivery], clock: Callable[[], int] = now_ms) -> list[Delivery]:
    """Return the expired deliveries among deliveries of one topic. A header that is no RFC 3339 time is ignored.

    Args:
        deliveries: All of one topic.
        clock: Returns ms since the epoch. Called only if a delivery has the header.
    """
    if not deliveries[0].topic.expires:
        return []
    last, name = headers.last, headers.CE_EXPIRYTIME
    bounded = [one for one in deliveries if last(one.record.headers, name) is not None]
    if not bounded:
        return bounded
    now = clock()
    return [one for one in bounded if _is_over(one, now)]


def _is_over(delivery: Delivery, now: int) -> bool:
    """Return whether the delivery has an expiry time at or before `now` (ms since the epoch)."""
    expires_at = headers.last_time(delivery.record.headers, headers.CE_EXPIRYTIME)
    return expires_at is not None and expires_at <= at_ms(now)
