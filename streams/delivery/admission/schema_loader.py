"""Fetches missing schemas from a schema registry over HTTP, outside the event loop.

While the registry does not answer, records and handlers that need a schema wait. Nothing is dead-lettered and no
attempt is counted.
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
"""Seconds until a request to the registry is repeated. The pause doubles each time, with some jitter."""

T = TypeVar("T")


class SchemaLoader:
    """The loader of one process, shared by its pools. Runs on the event loop. A file registry never needs it."""

    def __init__(self, breakers: BreakerRegistry, crash: Callable[[BaseException], None]) -> None:
        """Create a loader. `crash` ends the process when a fetch fails with an unexpected error."""
        self._breakers = breakers
        self._crash = crash
        self._fetches: dict[object, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._request_lock = asyncio.Semaphore(1)

    async def decode_when_loaded(self, decode: Callable[[], T]) -> T:
        """Return the result of `decode`, which is called again after each missing schema was fetched."""
        while True:
            try:
                return decode()
            except SchemaNotFetchedError as missing:
                await self.fetch(missing)

    async def fetch(self, missing: SchemaNotFetchedError) -> None:
        """Fetch a schema, and return when the registry has answered. All callers for one schema share one request."""
        await asyncio.shield(self._fetch_task(missing))

    def fetch_in_background(self, missing: SchemaNotFetchedError, resume: Callable[[], None]) -> None:
        """Fetch a schema in the background, and then call `resume`."""

        async def fetch() -> None:
            await self.fetch(missing)
            resume()

        self._start_task(fetch())

    async def prepare(self, codec: Codec, kind: type[Event]) -> None:
        """Fetch what is needed to encode events of a class.

        Raises:
            Unavailable: The registry does not answer.
            SchemaMissingError: The registry does not have the schema.
        """
        try:
            codec.prepare(kind)
        except SchemaNotFetchedError as missing:
            known = Unavailable(REGISTRY, "the schema registry does not answer")
            if self._fetches and self._breakers.retry_delay(known):
                raise known from missing  # a transaction must not wait behind requests that already fail
            try:
                await self._fetch_once(missing)
            except RegistryUnavailableError as error:
                raise Unavailable(REGISTRY, str(error)) from error
            codec.prepare(kind)

    def preload(self, codec: Codec, kinds: Collection[type[Event]]) -> None:
        """Fetch in the background what publishing each class needs, so that no handler has to wait for it."""
        for kind in kinds:
            self._preload_class(codec, kind)

    def close(self) -> None:
        """Cancel the requests, without waiting for their answers."""
        for task in self._tasks:
            task.cancel()

    def _preload_class(self, codec: Codec, kind: type[Event]) -> None:
        try:
            codec.prepare(kind)
        except SchemaNotFetchedError as missing:
            self.fetch_in_background(missing, partial(self._preload_class, codec, kind))
        except SchemaMissingError as error:
            log.warning("events of a class cannot be published", event_class=kind.__name__, error=str(error))

    def _fetch_task(self, missing: SchemaNotFetchedError) -> "asyncio.Task[None]":
        task = self._fetches.get(missing.what)
        if task is None:
            task = self._fetches[missing.what] = self._start_task(self._fetch_until_answered(missing))
            task.add_done_callback(lambda _task: self._fetches.pop(missing.what))
        return task

    async def _fetch_until_answered(self, missing: SchemaNotFetchedError) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._fetch_once(missing)
            except RegistryUnavailableError as error:
                log.warning(
                    "schema registry does not answer; deliveries that need the schema wait",
                    error=str(error),
                    schema=str(missing.what),
                )
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - only to spread the workers
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return

    async def _fetch_once(self, missing: SchemaNotFetchedError) -> None:
        try:
            async with self._request_lock:
                await _call_in_daemon_thread(missing.fetch)
        except RegistryUnavailableError as error:
            self._breakers.report(REGISTRY, str(error))
            raise
        self._breakers.report(REGISTRY, None)

    def _start_task(self, work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("fetching a schema failed", exc_info=error)
            self._crash(error)


async def _call_in_daemon_thread(fetch: Callable[[], object]) -> None:
    """Call `fetch` in a daemon thread: the process must not wait for a request when it ends."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()

    def set_outcome(error: Exception | None) -> None:
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
        except Exception as error:  # noqa: BLE001 - it is raised again in the task that waits
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no task waits
            loop.call_soon_threadsafe(set_outcome, failure)

    threading.Thread(target=run, name="schema-registry", daemon=True).start()
    await answered
