"""The Faust app of a worker. Faust runs agents, timers, pages and commands; the transport consumes."""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NoReturn

import faust
from faust.agents import Agent
from faust.app.base import BootStrategy
from faust.types import ServiceT
from mode import CrashingSupervisor

from streams.settings import Settings
from streams.transport.faust.web import StreamsWeb
from streams.transport.kafka.client import check_brokers
from streams.transport.kafka.errors import NotSupportedError, StartError
from streams.transport.kafka.group import AssignmentListener, Group, check_readers
from streams.transport.kafka.producer import RecordProducer
from streams.transport.kafka.records import Chunk

logger = logging.getLogger(__name__)

StartCheck = Callable[[], Awaitable[None]]
"""A condition that must hold before the worker starts. Raises StartError with one line for the user."""


class StreamsBootStrategy(BootStrategy):
    """Defines the services that a worker starts: no tables, no leader election, no replies."""

    def kafka_consumer(self) -> Iterable[ServiceT]:
        """Return the consumer only."""
        return [self.app.consumer]

    def tables(self) -> Iterable[ServiceT]:
        """Return nothing: state is kept in PostgreSQL."""
        return []

    def client_only(self) -> Iterable[ServiceT]:
        """Not supported: replies to `ask` need their own consumer. Raises NotSupportedError."""
        raise _no_replies()


class StreamsAgent(Agent):
    """An agent that processes chunks. Asking it for a reply fails at once instead of waiting for ever."""

    mundane_level = "debug"

    async def ask_nowait(self, *args: object, **kwargs: object) -> NoReturn:
        """Not supported. `ask`, `map`, `kvmap`, `join` and `kvjoin` use it and fail too. Raises NotSupportedError."""
        raise _no_replies()


class StreamsApp(faust.App):
    """A Faust app whose agents read chunks of the topics of its consumer groups.

    `groups` and `listener` can be set until the worker starts.

    An exception that leaves an agent ends the worker with exit code 1. Its chunk is unsettled and is read again.
    Requeueing the chunk would break the order or block the partition. An exception that leaves a timer, crontab or
    task also ends the worker, as in any Faust app.
    """

    mundane_level = "debug"
    BootStrategy = StreamsBootStrategy

    def __init__(
        self,
        settings: Settings,
        *,
        groups: tuple[Group, ...] = (),
        listener: AssignmentListener | None = None,
        **options: Any,
    ) -> None:
        """Create the app.

        Args:
            settings: The pipeline's settings.
            groups: The consumer groups of this worker.
            listener: Gets the changes of the groups' assignments.
            options: Faust's options. They override the ones set here.
        """
        self.settings = settings
        self.groups = groups
        self.listener = listener
        self.records = RecordProducer(
            settings, delivery_timeout=settings.settle_timeout, on_fatal=self.end_after_failure
        )
        self.checks: list[StartCheck] = [self._check_agents, self._check_web_address, self._check_brokers]
        """Run in order before anything starts. The first StartError ends the worker with its message."""
        super().__init__(settings.application, **{**_faust_options(settings), **options})

    @cached_property
    def web(self) -> StreamsWeb:
        """The web server."""
        return StreamsWeb(self)

    async def on_first_start(self) -> None:
        """Run the checks. Faust's data directory is not created, since there are no tables."""
        for check in self.checks:
            with self.refused_start():
                await check()

    @staticmethod
    @contextmanager
    def refused_start() -> Iterator[None]:
        """Return the context in which a StartError ends the process with its one line."""
        try:
            yield
        except StartError as error:
            logger.critical("%s", error)
            raise SystemExit(1) from error

    def end_after_failure(self, error: BaseException) -> None:
        """End the worker with exit code 1. `error` appears in the one line that is logged."""
        logger.critical("the worker stops: %s", error)
        self.add_future(self.crash(SystemExit(1)))

    def consume(self, topic: str, accept: Callable[[], Callable[[Chunk], None]], description: str) -> None:
        """Declare the agent of a topic.

        Args:
            topic: The topic's name on the cluster; also the agent's name.
            accept: Called at the first chunk. Returns the function that takes the chunks.
            description: What `faust -A streams agents` shows.
        """

        async def consume(chunks: AsyncIterable[Chunk]) -> None:
            take: Callable[[Chunk], None] | None = None
            async for chunk in chunks:
                take = take or accept()
                take(chunk)

        consume.__doc__ = description
        self.agent(self.topic(topic, value_serializer="raw"), name=topic)(consume)

    async def start_client(self) -> None:
        """Not supported. Raises NotSupportedError."""
        raise _no_replies()

    def Table(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: N802 - Faust's name
        """Not supported. Raises NotSupportedError."""
        raise _no_tables()

    def GlobalTable(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: N802 - Faust's name
        """Not supported. Raises NotSupportedError."""
        raise _no_tables()

    def SetTable(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: N802 - Faust's name
        """Not supported. Raises NotSupportedError."""
        raise _no_tables()

    def SetGlobalTable(self, *args: Any, **kwargs: Any) -> NoReturn:  # noqa: N802 - Faust's name
        """Not supported. Raises NotSupportedError."""
        raise _no_tables()

    async def _check_agents(self) -> None:
        readers: dict[str, list[str]] = {}
        for agent in self.agents.values():
            if agent.isolated_partitions:
                message = f"agent {agent.name}: isolated_partitions is not supported; streams.delivery keeps the order"
                raise StartError(message)
            for topic in agent.get_topic_names():
                readers.setdefault(topic, []).append(agent.name)
        if self.groups and self.listener is None:
            message = "the app has consumer groups, but no listener for their assignments"
            raise StartError(message)
        check_readers(self.groups, readers)

    async def _check_web_address(self) -> None:
        if not self.conf.web_enabled:
            return
        host, port = self.conf.web_bind, self.conf.web_port
        try:
            server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
        except OSError as error:
            message = (
                f"the web pages cannot listen on {host}:{port} (STREAMS_WEB_BIND, STREAMS_WEB_PORT): {error.strerror}"
            )
            raise StartError(message) from error
        server.close()
        await server.wait_closed()

    async def _check_brokers(self) -> None:
        await asyncio.to_thread(check_brokers, self.settings)


def _faust_options(settings: Settings) -> dict[str, Any]:
    servers = settings.kafka_bootstrap_servers.replace(" ", "").split(",")
    return {
        "broker": [f"librdkafka://{server}" for server in servers],
        "store": "memory://",
        "autodiscover": False,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "agent_supervisor": CrashingSupervisor,
        "Agent": StreamsAgent,
        "stream_wait_empty": True,
        "web_bind": settings.web_bind,
        "web_port": settings.web_port,
    }


def _no_tables() -> NotSupportedError:
    return NotSupportedError("Faust tables are not supported: keep state in PostgreSQL")


def _no_replies() -> NotSupportedError:
    return NotSupportedError("ask, map and join are not supported: agents process chunks and send no replies")
