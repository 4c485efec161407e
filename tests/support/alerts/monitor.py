"""Runs the checks of the pipeline itself on a real database, with a fake webhook."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from schemas import DeadLetterCheckRequested, Event, MailRequested, QueueCheckRequested
from streams.agents.maintenance.alerts import check_dead_letters, check_queues
from streams.operations.alerts.monitoring import Monitoring, TopicLags, build_monitoring
from streams.operations.lag import UnknownLag
from streams.operations.topic_lag import TopicLag
from streams.runtime.declarations import build_handlers, topics_to_read
from streams.settings import Settings
from streams.testing import Run, run
from streams.topics import load_catalogue

ADD_DEAD_LETTERS = text(
    """
    insert into streams.dead_letters (id, dlq_topic, dlq_partition, dlq_offset, topic, partition, "offset", handler,
        reason, error_type, error_message, attempts, first_failed_at, died_at, replayed_at)
    select :dlq || ':0:' || n, :dlq, 0, n, 't', 0, n, cast(:handler as text), 'exhausted', :error, 'it failed', 1,
        now(), now() + make_interval(secs => n), case when :replayed then now() end
    from generate_series(cast(:first as int), cast(:first as int) + :count - 1) as n
    """
)


@dataclass
class Monitor:
    """The monitoring of one test. Kafka's lag is what the test says, unless it reads Kafka."""

    engine: AsyncEngine
    monitoring: Monitoring
    lags: list[TopicLag] = field(default_factory=list)
    unknown: list[UnknownLag] = field(default_factory=list)
    mails: list[MailRequested] = field(default_factory=list)
    """The published mails."""
    published: list[Event] = field(default_factory=list)
    """The other published events."""

    def without_kafka(self) -> "Monitor":
        self.monitoring = replace(self.monitoring, read_lags=lambda: TopicLags(self.lags, self.unknown))
        return self

    async def check_queues(self, event: QueueCheckRequested | None = None) -> object:
        """Run one check. Returns its result."""
        return self._take(
            await run(check_queues, event or QueueCheckRequested(), engine=self.engine, services=[self.monitoring])
        )

    async def check_dead_letters(self) -> object:
        event = DeadLetterCheckRequested()
        return self._take(await run(check_dead_letters, event, engine=self.engine, services=[self.monitoring]))

    def _take(self, done: Run) -> object:
        events = [one.event for one in done.published]
        self.mails += [event for event in events if isinstance(event, MailRequested)]
        self.published += [event for event in events if not isinstance(event, MailRequested)]
        return done.result

    def subjects(self) -> list[str | None]:
        """Return the subjects of the mails, and forget the mails."""
        found = [mail.subject for mail in self.mails]
        self.mails.clear()
        return found

    async def execute(self, statement: str, **values: object) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text(statement), values)

    async def rows(self, statement: str) -> Sequence[tuple[object, ...]]:
        async with self.engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(statement))]

    async def add_dead_letters(
        self,
        count: int = 1,
        *,
        dlq: str = "t.dlq",
        handler: str | None = "index-document",
        error: str = "ValueError",
        first: int = 0,
        replayed: bool = False,
    ) -> None:
        """Add rows to the index of dead letters, with the offsets from `first` on."""
        values = {"count": count, "dlq": dlq, "handler": handler, "error": error, "first": first, "replayed": replayed}
        async with self.engine.begin() as connection:
            await connection.execute(ADD_DEAD_LETTERS, values)


@asynccontextmanager
async def open_monitor(settings: Settings, **more: object) -> AsyncIterator[Monitor]:
    """Yield the monitoring of settings, some of which are changed."""
    url = settings.database_url.get_secret_value().replace("postgresql://", "postgresql+psycopg://")
    engine = create_async_engine(url)
    own = Settings.model_validate({**settings.model_dump(), **more})
    try:
        catalogue = load_catalogue(own)
        yield Monitor(engine, build_monitoring(own, catalogue, topics_to_read(catalogue, build_handlers(own))))
    finally:
        await engine.dispose()
