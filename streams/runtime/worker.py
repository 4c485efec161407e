"""The worker: what a process runs in addition to Faust. One delivery engine per pool, the relay, the maintenance.

Loads no Faust: `bootstrap` connects it with the app. `resources` opens and closes its resources.
"""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack, suppress

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from streams.database.engines import unavailable
from streams.database.rights import missing_right
from streams.delivery.admission.database_gate import IS_READ_ONLY
from streams.delivery.engine import PoolEngine
from streams.observability.tracing import open_tracing
from streams.operations.doctor.examine import database_start_problems
from streams.operations.doctor.vector_stores import vector_store_start_problems
from streams.operations.topics.apply import check_topics
from streams.runtime.declarations import declaration_problems
from streams.runtime.failure_reports import WorkerFailedError
from streams.runtime.resources import WorkerConfig, WorkerResources, open_resources
from streams.settings import PoolName, SettingsError
from streams.transport.kafka.errors import StartError
from streams.transport.kafka.records import Assignment
from streams.transport.memory import return_large_buffers


class Worker:
    """The engines of one process and their resources. The transport's listener for assignments and revocations."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._stack = AsyncExitStack()
        self._resources: WorkerResources | None = None
        self.stopping = False

    @property
    def engines(self) -> Mapping[PoolName, PoolEngine]:
        """The engines by pool; empty before the start."""
        return {} if self._resources is None else self._resources.engines

    async def check(self) -> None:
        """Check the declarations, the cluster's topics, the database and the vector store before the start.

        Raises:
            StartError: Something is missing. The message is one line: what is missing, and what to do.
        """
        wrong = declaration_problems(self._config.catalogue, self._config.handlers)
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise StartError(wrong[0] + more)
        try:
            open_tracing(self._config.settings.application)
        except SettingsError as error:
            raise StartError(str(error)) from error
        problems = await asyncio.to_thread(check_topics, self._config.settings, self._config.catalogue)
        if problems:
            more = f" (and {len(problems) - 1} more: streams topics check)" if len(problems) > 1 else ""
            raise StartError(problems[0] + more)
        settings = self._config.settings
        try:
            lacking = await asyncio.to_thread(database_start_problems, settings, settings.pools)
        except SQLAlchemyError as error:
            raise StartError(missing_right(error) or str(unavailable(settings, error))) from error
        if lacking:
            more = f" (and {len(lacking) - 1} more: streams doctor)" if len(lacking) > 1 else ""
            raise StartError(lacking[0] + more)
        if away := await asyncio.to_thread(vector_store_start_problems, settings):
            raise StartError(away[0])

    async def start(self) -> None:
        """Open the resources and start the engines and the background tasks.

        If that raises, or if `stop` is called during the start, everything is closed again.

        Raises:
            StartError: The database's account lacks a right.
        """
        return_large_buffers()
        try:
            resources = await self._stack.enter_async_context(open_resources(self._config))
        except DBAPIError as error:
            if (lacking := missing_right(error)) is None:
                raise
            raise StartError(lacking) from error
        if self.stopping:
            await self.stop(clean=False)  # nothing ran, so the guard has no rows of this process
        else:
            self._resources = resources

    async def stop(self, *, clean: bool = True) -> None:
        """Stop the engines and close the resources. Call it after the consumers are closed. Idempotent.

        Args:
            clean: False if a failure ends the process. The crash-loop guard then keeps its rows for the next start.
        """
        self.stopping = True
        with suppress(WorkerFailedError):
            async with self._stack:
                if not clean:
                    raise WorkerFailedError

    async def tick(self) -> None:
        """Claim the slots of schedules that are due. It never raises."""
        if self._resources is not None and not self.stopping:
            await self._resources.clock.tick()

    @property
    def open_breakers(self) -> Mapping[str, str]:
        """The dependencies whose breaker is not closed → why deliveries that need them wait."""
        known = () if self._resources is None else self._resources.shared.breakers.all
        return {breaker.dependency: breaker.error or "" for breaker in known if breaker.state != "closed"}

    def is_waiting(self, topic: str) -> bool:
        """Return whether a topic's records may wait on purpose: in a retry tier, or for a pause or a breaker.

        A pause or a breaker counts for all topics: which handlers it blocks is shown elsewhere.
        """
        if self._resources is None or self.open_breakers or self._resources.shared.pauses.any:
            return True
        return topic not in {one.name for one in self._config.catalogue}

    async def database_error(self) -> str | None:
        """Query the database. Return its error in one line; None: it answers and takes writes."""
        if self._resources is None:
            return "not connected yet"
        try:
            async with asyncio.timeout(2), self._resources.shared.database.bookkeeping.connect() as connection:
                if (await connection.execute(IS_READ_ONLY)).scalar():
                    return "the server is read-only"
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            return " ".join(str(error).split()) or type(error).__name__
        return None

    # The methods of streams.transport.kafka.group.AssignmentListener.

    def on_assigned(self, assignments: Collection[Assignment]) -> None:
        """Do nothing: the chunks of new partitions follow."""

    async def on_revoking(self, assignments: Collection[Assignment]) -> None:
        """Finish the running deliveries of these partitions, and start no others."""
        await asyncio.gather(*(engine.on_revoking(assignments) for engine in self.engines.values()))

    def on_revoked(self, assignments: Collection[Assignment]) -> None:
        """Cancel the deliveries of these partitions that still run, and discard the waiting ones."""
        if self._resources is None:
            return
        for engine in self._resources.engines.values():
            engine.on_revoked(assignments)
        # After a failure the guard keeps its rows: the next start counts it.
        self._resources.shared.guard.on_revoked(assignments)

    async def drain(self) -> None:
        """Start no delivery, finish the running ones, release long ones: the worker leaves its groups."""
        self.stopping = True
        await asyncio.gather(*(engine.drain() for engine in self.engines.values()))
