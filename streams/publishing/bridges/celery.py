"""Publishes events in place of the platform's Celery calls `.delay(…)` and `.apply_async(…)`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.orm import Session

from schemas import Event
from streams.codec import Codec
from streams.name_errors import unknown_name
from streams.publishing.bridges.errors import BridgeError
from streams.publishing.bridges.json_values import json_value
from streams.publishing.bridges.platform_tasks import TASKS
from streams.publishing.bridges.platform_tasks.task import PlatformTask
from streams.publishing.bridges.sender_transaction import CurrentSession, EventSource, SenderTransactions
from streams.publishing.producer import EventProducer
from streams.settings import load_settings

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
    code_lifetime: timedelta
    """How long a code is valid, if the task has one."""
    producer: EventProducer | None = None
    """Publishes the event straight to Kafka. None: it is published in a transaction."""

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
            BridgeError: The event does not accept a value, a row that it needs does not exist, or `countdown`, `eta` or
                `expires` is no possible time.
            Exception: Any error of `Outbox.publish`, or of `EventProducer.publish`.
        """
        session = self.transactions.session_of() if self.task.transaction == "sender's" else None
        name = self.task.name
        now = datetime.now(tz=UTC)
        at = _to_time(name, "eta", eta, now) if countdown is None else _to_time(name, "countdown", countdown, now)
        expires_at = _to_time(name, "expires", expires, now)
        if self.task.has_code:
            expires_at = min(expires_at or datetime.max.replace(tzinfo=UTC), now + self.code_lifetime)
        try:
            source = self._event(args or (), kwargs or {})
            return Published(str(self._publish(source, at, expires_at, session)))
        except ValidationError as error:
            first = error.errors()[0]
            message = f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise BridgeError(message) from error
        except BridgeError as error:
            message = f"{name}: {error}"
            raise BridgeError(message) from error

    def _event(self, args: Sequence[object], kwargs: Mapping[str, object]) -> EventSource:
        """Return the task's event, or the function that builds it. Raises the same as `apply_async`."""
        positional = [json_value(value) for value in args]
        return self.task.to_event(*positional, **{name: json_value(value) for name, value in kwargs.items()})

    def _publish(
        self, source: EventSource, at: datetime | None, expires_at: datetime | None, session: Session | None
    ) -> UUID:
        """Publish the event to Kafka, in the sender's transaction or in its own one. Returns its id.

        Args:
            source: The event, or the function that builds it.
            at: The earliest time to send it.
            expires_at: No attempt to handle it starts at or after this time.
            session: The session with the sender's transaction. None: its own transaction.
        """
        if self.producer is not None and at is None and isinstance(source, Event):
            self.producer.publish(source, expires_at=expires_at)
            return source.event_id
        if session is None:
            return self.transactions.publish_separately(source, at, expires_at, delay=self.task.delay)
        return self.transactions.publish_within(session, source, at, expires_at)


class CeleryTasks(Mapping[str, EventTask]):
    """The replaced tasks by Celery's name (``tasks.<module>.<function>``).

    The function's name finds a task too, as a key and as an attribute, if no other task has it.
    """

    def __init__(self, tasks: Mapping[str, EventTask]) -> None:
        self._tasks = tasks
        self._full_names: dict[str, list[str]] = {}
        for name in tasks:
            self._full_names.setdefault(name.rpartition(".")[2], []).append(name)

    def __getitem__(self, name: str) -> EventTask:
        full_names = self._full_names.get(name, [])
        return self._tasks[full_names[0] if len(full_names) == 1 else name]

    def __getattr__(self, name: str) -> EventTask:
        full_names = vars(self).get("_full_names", {}).get(name, [])
        if len(full_names) == 1:
            return self[name]
        if full_names:
            message = (
                f"{len(full_names)} tasks are called {name}: use one of {', '.join(map(repr, full_names))} as a key"
            )
        else:
            message = unknown_name("replaced task", name, vars(self).get("_full_names", ()))
        raise AttributeError(message)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)


def celery_tasks(
    session: CurrentSession, *, codec: Codec | None = None, producer: EventProducer | None = None
) -> CeleryTasks:
    """Return the replaced tasks.

    A task that the platform calls before its commit publishes in the session's transaction, if one is open. All other
    tasks, which it calls after its commit, publish in their own transaction.

    Args:
        session: Returns the process's current session, such as the platform's `db.session`.
        codec: The codec for the events. None: the one of the environment's settings.
        producer: Publishes the states of workflow runs and nodes straight to Kafka, without a transaction. None: they
            are published as the other events.

    Raises:
        SettingsError: A setting of the environment is wrong.
    """
    transactions = SenderTransactions(session, codec)
    code_lifetime = timedelta(seconds=load_settings().mail_code_lifetime)
    return CeleryTasks(
        {
            task.name: EventTask(task, transactions, code_lifetime, producer if task.is_frequent else None)
            for task in TASKS
        }
    )


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
