"""From the platform's Celery calls to events: `.delay(…)` and `.apply_async(…)` publish."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from streams.codec import Codec
from streams.publishing.bridges.platform_tasks import TASKS, PlatformTask
from streams.publishing.bridges.sender_transaction import BridgeError, CurrentSession, SenderTransactions


@dataclass(frozen=True, slots=True)
class Published:
    """What a call gives back in place of Celery's AsyncResult."""

    id: str
    """The id under which the event travels: `streams executions show` knows it."""

    @property
    def task_id(self) -> str:
        """The same, by Celery's other name."""
        return self.id


@dataclass(frozen=True, slots=True)
class EventTask:
    """Stands in for one Celery task."""

    task: PlatformTask
    transactions: SenderTransactions

    def delay(self, *args: object, **kwargs: object) -> Published:
        """Publish with the task's arguments, as `apply_async(args, kwargs)` does."""
        return self.apply_async(args, kwargs)

    def apply_async(  # noqa: PLR0913 - Celery's options
        self,
        args: Sequence[object] | None = None,
        kwargs: Mapping[str, object] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        expires: float | datetime | None = None,
        priority: int | None = None,  # noqa: ARG002 - accepted, see below
        queue: str | None = None,  # noqa: ARG002 - accepted, see below
    ) -> Published:
        """Publish the task's event.

        Args:
            args: positional arguments of the task.
            kwargs: its keyword arguments.
            countdown: seconds until it may run; goes before `eta`.
            eta: the time from which on it may run. Without an offset it is UTC, as Celery takes it.
            expires: seconds from now, or a time, from which on no attempt begins.
            priority: has no effect: which pool works on it is its topic's.
            queue: has no effect, for the same reason.

        Other options of Celery are refused, for they would not be honoured. Raises TypeError for arguments that the
        task does not take, BridgeError for a value that the event cannot hold, and what `Outbox.publish` raises.
        """
        session = self.transactions.open_for() if self.task.transaction == "sender's" else None
        try:
            event = self.task.event_of(*(args or ()), **(kwargs or {}))
        except ValidationError as error:
            first = error.errors()[0]
            message = f"{self.task.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise BridgeError(message) from error
        now = datetime.now(tz=UTC)
        at = _moment(eta if countdown is None else countdown, now)
        expires_at = _moment(expires, now)
        if session is None:
            return Published(str(self.transactions.beside(event, at, expires_at)))
        return Published(str(self.transactions.within(session, event, at, expires_at)))


class CeleryTasks(Mapping[str, EventTask]):
    """The replaced tasks by name, also by the one that Celery gives (``tasks.<module>.<name>``), and as attributes."""

    def __init__(self, tasks: Mapping[str, EventTask]) -> None:
        self._tasks = tasks

    def __getitem__(self, name: str) -> EventTask:
        return self._tasks[name.rpartition(".")[2]]

    def __getattr__(self, name: str) -> EventTask:
        if name.startswith("_") or name not in self._tasks:
            message = f"no event replaces the task {name}; replaced are: {', '.join(vars(self).get('_tasks', ()))}"
            raise AttributeError(message)
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


def celery_tasks(session: CurrentSession, *, codec: Codec | None = None) -> CeleryTasks:
    """The replaced tasks, for a process whose current session a function gives, such as the platform's `db.session`.

    Tasks that the platform calls before its commit publish in that session's transaction, where one is open; the
    others, which it calls when nothing is committed any more, in a transaction of their own.
    """
    transactions = SenderTransactions(session, codec)
    return CeleryTasks({task.name: EventTask(task, transactions) for task in TASKS})


def _moment(given: float | datetime | None, now: datetime) -> datetime | None:
    """A time, or one so many seconds from now; without an offset it is UTC."""
    if given is None:
        return None
    if isinstance(given, datetime):
        return given if given.utcoffset() is not None else given.replace(tzinfo=UTC)
    return now + timedelta(seconds=given)
