"""Whether a worker lives and is ready: a judgement over what was seen, without I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Seen:
    """What a worker knows of itself at one moment."""

    members: Mapping[str, bool]
    """Consumer group → whether it is assigned, or a member with nothing to assign."""
    stalled: Sequence[str] = ()
    """Partitions (``topic[3]``) that have records but settled nothing for too long."""
    dead_threads: Sequence[str] = ()
    """Groups whose polling thread has ended."""
    database_error: str | None = None
    """One line; None: reachable."""
    stopping: bool = False
    open_breakers: Mapping[str, str] = field(default_factory=dict)
    """Dependency → why work that needs it waits."""


@dataclass(frozen=True, slots=True)
class Health:
    """The judgement. Not live: restart the process. Not ready: it does no good now, but may again."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    """Why it is not ready, one line each; empty where it is."""
    open_breakers: Mapping[str, str] = field(default_factory=dict)
    """As seen. They make no worker unready: it does what needs them not."""

    def live_page(self) -> dict[str, object]:
        """The JSON of `/health/live`: {"live": bool, "reasons": [str, …]}."""
        return {"live": self.live, "reasons": [] if self.live else list(self.reasons)}

    def ready_page(self) -> dict[str, object]:
        """The JSON of `/health/ready`: {"ready": bool, "reasons": [str, …], "open_breakers": {dependency: why}}."""
        return {"ready": self.ready, "reasons": list(self.reasons), "open_breakers": dict(self.open_breakers)}


def judge(seen: Seen) -> Health:
    """Live while every polling thread runs; ready when assigned, not stalled, the database reachable, not stopping.

    A database that is down makes a worker unready, not dead: a restart would not bring it back.
    """
    reasons = [f"{group}: its polling thread has ended" for group in seen.dead_threads]
    reasons += [f"{group}: not assigned yet" for group, assigned in sorted(seen.members.items()) if not assigned]
    reasons += [f"{partition}: has records, but settles none" for partition in seen.stalled]
    if seen.database_error is not None:
        reasons.append(f"database: {seen.database_error}")
    if seen.stopping:
        reasons.append("stopping")
    return Health(
        live=not seen.dead_threads, ready=not reasons, reasons=tuple(reasons), open_breakers=seen.open_breakers
    )
