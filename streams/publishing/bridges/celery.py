"""Publishes events in place of the platform's Celery calls `.delay(…)` and `.apply_async(…)`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from streams.codec import Codec
from streams.publishing.bridges.platform_tasks import TASKS, PlatformTask
from streams.publishing.bridges.sender_transaction import BridgeError, CurrentSession, SenderTransactions

_EXPECTED = {
    "countdown": "a number of seconds",
    "eta": "a datetime",
    "expires": "a number of seconds or a datetime",
}


@dataclass(frozen=True, slots=True)
class Published:
    """The result of a call, in place of Celery's AsyncResult."""

    id: str
    """The id of the event that was sent. `streams executions show` finds it."""

    @property
    def task_id(self) -> str:
        """The same id, by Celery's other name."""
        return self.id


@dataclass(frozen=True, slots=True)
class EventTask:
    """Replaces one Celery task."""

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
        """Publish the task's event. Celery's other options are not accepted, since they would have no effect.

        Args:
            args: The task's positional arguments.
            kwargs: The task's keyword arguments.
            countdown: Seconds until the task may run. It overrides `eta`.
            eta: The earliest time to run it. Without a UTC offset it is UTC, as in Celery.
            expires: Seconds from now, or a time. No attempt starts at or after it.
            priority: Has no effect: the topic decides which pool runs the handler.
            queue: Has no effect, for the same reason.

        Raises:
            TypeError: The task does not have such an argument.
            BridgeError: The event does not accept a value, or `countdown`, `eta` or `expires` is no possible time.
            Exception: Any error of `Outbox.publish`.
        """
        session = self.transactions.session_of() if self.task.transaction == "sender's" else None
        try:
            event = self.task.to_event(*(args or ()), **(kwargs or {}))
        except ValidationError as error:
            first = error.errors()[0]
            message = f"{self.task.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise BridgeError(message) from error
        now = datetime.now(tz=UTC)
        name = self.task.name
        at = _to_time(name, "eta", eta, now) if countdown is None else _to_time(name, "countdown", countdown, now)
        expires_at = _to_time(name, "expires", expires, now)
        if session is None:
            return Published(str(self.transactions.publish_separately(event, at, expires_at)))
        return Published(str(self.transactions.publish_within(session, event, at, expires_at)))


class CeleryTasks(Mapping[str, EventTask]):
    """The replaced tasks by name, also by Celery's name (``tasks.<module>.<name>``), and as attributes."""

    def __init__(self, tasks: Mapping[str, EventTask]) -> None:
        self._tasks = tasks

    def __getitem__(self, name: str) -> EventTask:
        return self._tasks[name.rpartition(".")[2]]

    def __getattr__(self, name: str) -> EventTask:
        if name.startswith("_") or name not in self._tasks:
            message = f"no event replaces the task {name}; replaced tasks: {', '.join(vars(self).get('_tasks', ()))}"
            raise AttributeError(message)
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


def celery_tasks(session: CurrentSession, *, codec: Codec | None = None) -> CeleryTasks:
    """Return the replaced tasks. `session` returns the process's current session, such as the platform's `db.session`.

    A task that the platform calls before its commit publishes in the session's transaction, if one is open. All other
    tasks, which it calls after its commit, publish in their own transaction.
    """
    transactions = SenderTransactions(session, codec)
    return CeleryTasks({task.name: EventTask(task, transactions) for task in TASKS})


def _to_time(task: str, option: str, given: object, now: datetime) -> datetime | None:
    """Return the time that an option asks for, in UTC. A time without a UTC offset is UTC.

    Args:
        task: The name of the task, for the error.
        option: countdown (seconds from now), eta (a time) or expires (either).
        given: Its value; None: no time.
        now: The current time.

    Raises:
        BridgeError: The value has another type, or is a time that no event can have.
    """
    if given is None:
        return None
    try:
        if isinstance(given, datetime) and option != "countdown":
            return given.replace(tzinfo=UTC) if given.utcoffset() is None else given.astimezone(UTC)
        if isinstance(given, int | float) and not isinstance(given, bool) and option != "eta":
            return now + timedelta(seconds=given)
    except (OverflowError, ValueError) as error:
        message = f"{task}: {option} is no possible time: {error}"
        raise BridgeError(message) from error
    message = f"{task}: {option} is a {type(given).__name__}, not {_EXPECTED[option]}"
    raise BridgeError(message)
