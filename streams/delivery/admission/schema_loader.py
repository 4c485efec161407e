"""Fetches the schemas that a registry over HTTP has to be asked for first, outside the event loop.

While the registry does not answer nothing is buried and no attempt counts: what needs a schema waits for it.
"""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import TypeVar

from schemas import Event
from schemas.registry import RegistryUnavailableError
from streams.codec import Codec, SchemaMissingError
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.errors import Unavailable
from streams.observability.logs import get_logger
from streams.schema_registry.clients import SchemaNotFetchedError

log = get_logger(__name__)
REGISTRY = "schema-registry"
"""The dependency's name, as `streams breakers` shows it."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds until the registry is asked again for the same thing; they double, and each worker's differ a little."""

T = TypeVar("T")


class SchemaLoader:
    """One for all pools of a process. Lives on the event loop; with a file registry it never has anything to do."""

    def __init__(self, breakers: BreakerRegistry, crash: Callable[[BaseException], None]) -> None:
        """`crash` ends the process, when a fetch fails by our own fault."""
        self._breakers = breakers
        self._crash = crash
        self._fetches: dict[object, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Semaphore(1)

    async def ready(self, decode: Callable[[], T]) -> T:
        """The result of `decode`, which is called until it misses no schema."""
        while True:
            try:
                return decode()
            except SchemaNotFetchedError as missing:
                await self.fetched(missing)

    async def fetched(self, missing: SchemaNotFetchedError) -> None:
        """Return once the registry has answered; it is asked once for all that wait for the same."""
        await asyncio.shield(self._fetching(missing))

    def when_fetched(self, missing: SchemaNotFetchedError, resume: Callable[[], None]) -> None:
        """Fetch it in the background, and then call `resume`."""

        async def fetch() -> None:
            await self.fetched(missing)
            resume()

        self._begin(fetch())

    async def prepared(self, codec: Codec, kind: type[Event]) -> None:
        """Return when events of the class can be encoded without asking. Raises Unavailable, SchemaMissingError."""
        try:
            codec.prepare(kind)
        except SchemaNotFetchedError as missing:
            known = Unavailable(REGISTRY, "the schema registry does not answer")
            if self._fetches and self._breakers.blocked_by(known):
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

    def _fetching(self, missing: SchemaNotFetchedError) -> "asyncio.Task[None]":
        task = self._fetches.get(missing.what)
        if task is None:
            task = self._fetches[missing.what] = self._begin(self._fetch(missing))
            task.add_done_callback(lambda _task: self._fetches.pop(missing.what))
        return task

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
                return

    async def _ask(self, missing: SchemaNotFetchedError) -> None:
        try:
            async with self._one_at_a_time:
                await _beside(missing.fetch)
        except RegistryUnavailableError as error:
            self._breakers.tell(REGISTRY, str(error))
            raise
        self._breakers.tell(REGISTRY, None)

    def _begin(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

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
