"""Which deliveries have expired: from their event's `ce_expirytime` on no attempt of them begins."""

from collections.abc import Callable, Sequence

from streams import headers
from streams.delivery.delivery import Delivery, at_ms, now_ms


def expired(deliveries: Sequence[Delivery], clock: Callable[[], int] = now_ms) -> list[Delivery]:
    """Those of them, all of one topic, whose time is over by the clock (ms since the epoch), which few have to ask.

    A header that is no RFC 3339 time says nothing: the event is worked on.
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
    """Whether the delivery has an expiry, and it is not after `now` (ms since the epoch)."""
    expires_at = headers.last_time(delivery.record.headers, headers.CE_EXPIRYTIME)
    return expires_at is not None and expires_at <= at_ms(now)
