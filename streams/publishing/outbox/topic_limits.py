"""How many rows of a topic the relay may send at once: fewer after Kafka refused some. No I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

REST_SECONDS = 5.0
"""How long a topic is skipped after Kafka could not take its records."""


LARGEST_LIMIT = 1000
"""Rows of a part from which a topic has no limit any more."""


class HasTopic(Protocol):
    """A row of the outbox."""

    @property
    def topic(self) -> str:
        """Where it is sent."""


R = TypeVar("R", bound=HasTopic)


@dataclass(slots=True)
class _Limit:
    rows: int
    rests_until: float
    """Seconds of the monotonic clock."""


class TopicLimits:
    """The topics with a limit. Their rows are sent in one part at a time; all other topics have no limit."""

    def __init__(self) -> None:
        self._limits: dict[str, _Limit] = {}

    def resting(self, now: float) -> list[str]:
        """Return the topics that must not be sent to now (seconds of the monotonic clock)."""
        return [topic for topic, limit in self._limits.items() if limit.rests_until > now]

    def is_limited(self, topic: str) -> bool:
        """Return whether the topic has a limit, so that its next part must wait for the one in flight."""
        return topic in self._limits

    def parts(self, rows: Iterable[R]) -> dict[str, list[R]]:
        """Return the rows to send now by topic, in their order. Rows over a limit are left out."""
        parts: dict[str, list[R]] = {}
        for row in rows:
            part = parts.setdefault(row.topic, [])
            limit = self._limits.get(row.topic)
            if limit is None or len(part) < limit.rows:
                part.append(row)
        return parts

    def unavailable(self, topic: str, now: float) -> bool:
        """Note that Kafka could not take a part: the topic rests, then one row probes it.

        Returns False if it rests already, because of another part.
        """
        known = self._limits.get(topic)
        self._limits[topic] = _Limit(1, now + REST_SECONDS)
        return known is None or known.rests_until <= now

    def refused(self, topic: str, rows: int) -> None:
        """Note that a part was refused because of one of its records. Smaller parts find out which."""
        self._limits[topic] = _Limit(max(1, rows // 2), 0.0)

    def accepted(self, topic: str) -> None:
        """Note that a part was accepted: the limit doubles, and ends at `LARGEST_LIMIT` rows."""
        limit = self._limits.get(topic)
        if limit is not None:
            limit.rows *= 2
            if limit.rows >= LARGEST_LIMIT:
                del self._limits[topic]
