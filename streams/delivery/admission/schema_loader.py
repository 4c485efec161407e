"""What a schema registry over HTTP has to be asked for first: asked beside the event loop, and who needs it waits.

While the registry does not answer nothing is buried and no attempt counts. A chunk of an event topic waits, and those
of its partition behind it, so that order holds; of a retry tier only the record waits. Other topics go on.
"""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable
from functools import partial

from schemas import Event
from schemas.registry import RegistryUnavailableError
from streams.codec import Codec, SchemaMissingError
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.errors import Unavailable
from streams.observability.logs import get_logger
from streams.schema_registry.clients import SchemaNotFetchedError
from streams.transport.kafka.records import Assignment

log = get_logger(__name__)
REGISTRY = "schema-registry"
"""The dependency's name, as `streams breakers` shows it."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds until the registry is asked again for the same thing; they double, and each worker's differ a little."""

GoOn = Callable[[], None]


class SchemaLoader:
    """One for all pools of a process. Lives on the event loop; with a file registry it never has anything to do."""

    def __init__(self, breakers: BreakerRegistry, crash: Callable[[BaseException], None]) -> None:
        """`crash` ends the process: a fetch that fails by our own fault must not leave its partition waiting."""
        self._breakers = breakers
        self._crash = crash
        self._waiting: dict[object, list[GoOn]] = {}
        self._held: dict[Assignment, list[GoOn]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Semaphore(1)

    def holds(self, assignment: Assignment, go_on: GoOn) -> bool:
        """True where a chunk has to wait behind another of its partition: then `go_on` is called after that one's."""
        waiting = self._held.get(assignment)
        if waiting is None:
            return False
        waiting.append(go_on)
        return True

    def hold(self, assignment: Assignment, missing: SchemaNotFetchedError, go_on: GoOn) -> None:
        """Fetch it, then call `go_on`, and those of the partition that came behind."""
        self._held[assignment] = [go_on]
        self.when_fetched(missing, lambda: self._let_go(assignment))

    def when_fetched(self, missing: SchemaNotFetchedError, go_on: GoOn) -> None:
        """Fetch it, once for all that wait for the same, and then call `go_on`."""
        waiting = self._waiting.get(missing.what)
        if waiting is None:
            waiting = self._waiting[missing.what] = []
            self._begin(self._fetch(missing))
        waiting.append(go_on)

    def gone(self, assignments: Iterable[Assignment]) -> None:
        """These went: their next owner has the chunks."""
        for assignment in assignments:
            self._held.pop(assignment, None)

    async def prepared(self, codec: Codec, kind: type[Event]) -> None:
        """Return when events of the class can be encoded without asking. Raises Unavailable, SchemaMissingError."""
        try:
            codec.prepare(kind)
        except SchemaNotFetchedError as missing:
            known = Unavailable(REGISTRY, "the schema registry does not answer")
            if self._waiting and self._breakers.blocked_by(known):
                raise known from missing  # it is being asked for something else: a transaction does not wait for that
            try:
                await self._ask(missing)
            except RegistryUnavailableError as error:
                raise Unavailable(REGISTRY, str(error)) from error
            codec.prepare(kind)

    def warm(self, codec: Codec, kinds: Collection[type[Event]]) -> None:
        """Learn in the background what publishing each class needs, so that no handler has to wait for it."""
        for kind in kinds:
            self._learn(codec, kind)

    def close(self) -> None:
        """Ask no more, and do not wait for an answer that is still to come."""
        for task in self._tasks:
            task.cancel()

    def _learn(self, codec: Codec, kind: type[Event]) -> None:
        try:
            codec.prepare(kind)
        except SchemaNotFetchedError as missing:
            self.when_fetched(missing, partial(self._learn, codec, kind))
        except SchemaMissingError as error:
            log.warning("events of a class cannot be published", event_class=kind.__name__, error=str(error))

    def _let_go(self, assignment: Assignment) -> None:
        # The first may be held again, for another schema of its records; the others then wait behind it.
        for go_on in self._held.pop(assignment, ()):
            go_on()

    async def _fetch(self, missing: SchemaNotFetchedError) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._ask(missing)
            except RegistryUnavailableError as error:
                log.warning(
                    "schema registry does not answer, what needs it waits", error=str(error), schema=str(missing.what)
                )
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - only to spread the workers
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                break
        for go_on in self._waiting.pop(missing.what, ()):
            go_on()

    async def _ask(self, missing: SchemaNotFetchedError) -> None:
        try:
            async with self._one_at_a_time:
                await _beside(missing.fetch)
        except RegistryUnavailableError as error:
            self._breakers.tell(REGISTRY, str(error))
            raise
        self._breakers.tell(REGISTRY, None)

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a fetch of a schema failed", exc_info=error)
            self._crash(error)


async def _beside(fetch: Callable[[], object]) -> None:
    """Call it in a thread that the process does not wait for when it ends: a request may take its whole time-out."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if answered.done():
            return
        if error is None:
            answered.set_result(None)
        else:
            answered.set_exception(error)

    def run() -> None:
        failure: Exception | None = None
        try:
            fetch()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the answer is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, failure)

    threading.Thread(target=run, name="schema-registry", daemon=True).start()
    await answered
