"""Decides whether a worker is live and ready, from its state at one moment. No I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.observability.metrics import Lag

STALLED_AFTER = 600.0
"""Seconds without a committed offset, while there are records, from which on a partition is stalled."""


class StallDetector:
    """Remembers since when the committed offset of each owned partition has not moved. Asked by the health pages."""

    def __init__(self, after: float = STALLED_AFTER) -> None:
        """Create a detector. `after` is in seconds."""
        self._after = after
        self._since: dict[tuple[str, str, int], tuple[int, float]] = {}

    def stalled(self, positions: Iterable[Lag], waiting: Callable[[str], bool], now: float) -> list[str]:
        """Return the partitions (``topic[3]``) that have records but have settled none for too long.

        Args:
            positions: The offsets of the partitions that this worker owns.
            waiting: Returns True for a topic whose records wait for a reason that is shown elsewhere.
            now: Seconds of a clock that never goes back.
        """
        before, self._since = self._since, {}
        found = []
        for one in positions:
            if one.lag <= 0 or waiting(one.topic):
                continue
            key = (one.consumergroup, one.topic, one.partition)
            offset, since = before.get(key, (one.current_offset, now))
            self._since[key] = (one.current_offset, since if offset == one.current_offset else now)
            if now - self._since[key][1] >= self._after:
                found.append(f"{one.topic}[{one.partition}]")
        return sorted(found)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """The state of a worker at one moment."""

    members: Mapping[str, bool]
    """Consumer group → True: it has partitions, or it is a member and there are no partitions for it."""
    stalled: Sequence[str] = ()
    """Partitions (``topic[3]``) that have records but have settled none for too long."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Topic → why it cannot be read now, such as a lost right."""
    dead_threads: Sequence[str] = ()
    """Groups whose polling thread has ended."""
    database_error: str | None = None
    """Why the database does not answer, in one line; None: it answers."""
    stopping: bool = False
    open_breakers: Mapping[str, str] = field(default_factory=dict)
    """Dependency → why deliveries that need it wait."""


@dataclass(frozen=True, slots=True)
class Health:
    """Not live: the process must be restarted. Not ready: it cannot work now, but may recover by itself."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    """Why it is not ready, one line each; empty if it is ready."""
    open_breakers: Mapping[str, str] = field(default_factory=dict)
    """They do not make a worker unready: it continues with work that does not need these dependencies."""

    def live_page(self) -> dict[str, object]:
        """Return the JSON of `/health/live`: {"live": bool, "reasons": [str, …]}."""
        return {"live": self.live, "reasons": [] if self.live else list(self.reasons)}

    def ready_page(self) -> dict[str, object]:
        """Return the JSON of `/health/ready`: {"ready": bool, "reasons": [str, …], "open_breakers": {name: why}}."""
        return {"ready": self.ready, "reasons": list(self.reasons), "open_breakers": dict(self.open_breakers)}


def health_of(state: WorkerState) -> Health:
    """Decide whether a worker is live and ready.

    It is live while every polling thread runs. It is ready if its groups are assigned, no partition is stalled, every
    topic can be read, the database answers and it is not stopping. A database that is down makes a worker unready, not
    dead: a restart of the worker would not help.
    """
    reasons = [f"{group}: its polling thread has ended" for group in state.dead_threads]
    reasons += [f"{group}: not assigned yet" for group, assigned in sorted(state.members.items()) if not assigned]
    reasons += [f"{partition}: has records, but settles none" for partition in state.stalled]
    reasons += [f"{topic}: cannot be read: {why}" for topic, why in sorted(state.unreadable.items())]
    if state.database_error is not None:
        reasons.append(f"database: {state.database_error}")
    if state.stopping:
        reasons.append("stopping")
    return Health(
        live=not state.dead_threads, ready=not reasons, reasons=tuple(reasons), open_breakers=state.open_breakers
    )
