"""Charging messages exactly once: beside the same SQL fed from memory, and beside Celery with a task a message."""

import asyncio
import sys
import time
from collections.abc import Sequence

from sqlalchemy import text

from benchmarks.contenders.celery_tasks import app, charge
from benchmarks.environment import Ground, Plot, say, wait_until
from benchmarks.messages import ROOT, TENANTS, Messages, a_message
from benchmarks.result import Result, Results
from schemas import MessageCreated
from streams.agents.message_quota import charge_message, use_of
from streams.database import Database
from streams.delivery.delivery import Delivery
from streams.delivery.execution.transaction import effect_session
from streams.delivery.ledger import claim
from streams.delivery.ledger.columns import WorkerIdentity
from streams.dify.quota import record_uses
from streams.local.process import ServerProcess
from streams.topics import load_catalogue
from streams.transport.kafka.records import Record

EVENTS = 100_000
_CELERY_SHARE = 20
_AT_ONCE = 4
"""As many transactions as the topic has partitions."""
_BATCH = 500
_PATIENCE = 900.0
_TOKENS = 30
_CHARGED = "select coalesce(sum(quota_used), 0) from providers"
_PROVIDERS = text(
    """
    insert into providers
        (id, tenant_id, provider_name, provider_type, is_valid, quota_type, quota_limit, quota_used)
    select uuid_generate_v4(), cast(lpad(to_hex(n), 32, '0') as uuid), 'openai', 'system', true, 'trial', 10 ^ 12, 0
    from generate_series(0, :last) as n
    """
)


def run(ground: Ground, scale: float) -> Results:
    """Messages charged a second by each; every one of them exactly once."""
    count = max(round(EVENTS * scale), 5_000)
    ours, exact = _pipeline(ground, count)
    memory = _from_memory(ground, count)
    celery = _celery(ground, max(1_000, count // _CELERY_SHARE))
    detail = {"pipeline": round(ours), "SQL from memory": round(memory), "Celery": round(celery), "messages": count}
    yield Result("charging-exact", exact, "of what was to be charged", "at least", 1.0, detail)
    yield Result("charging-to-sql", ours / memory, "times the SQL alone", "at least", 0.3, detail)
    yield Result("charging-to-celery", ours / celery, "times Celery", "at least", 10.0, detail)


def _providers(plot: Plot) -> None:
    with plot.engine.begin() as connection:
        connection.execute(_PROVIDERS, {"last": TENANTS - 1})


def _wait_charged(plot: Plot, count: int) -> float:
    """Seconds from the first charged message to the last of `count`."""
    wait_until(lambda: plot.scalar(_CHARGED) > 0, "the first charge", _PATIENCE)
    began, before = time.perf_counter(), plot.scalar(_CHARGED)
    wait_until(lambda: plot.scalar(_CHARGED) >= count * _TOKENS, "the last charge", _PATIENCE)
    done = count * _TOKENS - before
    return (time.perf_counter() - began) * count * _TOKENS / max(1, done)


def _pipeline(ground: Ground, count: int) -> tuple[float, float]:
    """Messages a second, and what was charged as a part of what was due."""
    with ground.plot("charging", STREAMS_PARTITIONS="4", STREAMS_POOLS="high") as plot:
        _providers(plot)
        Messages(plot).fill(count)
        with plot.worker():
            took = _wait_charged(plot, count)
        say(f"pipeline: {count / took:,.0f} messages/s")
        return count / took, plot.scalar(_CHARGED) / (count * _TOKENS)


def _from_memory(ground: Ground, count: int) -> float:
    """The same statements, the same batches, the same number of transactions at once; no Kafka, no engine."""
    with ground.plot("memory", STREAMS_PARTITIONS="4") as plot:
        _providers(plot)
        topic = load_catalogue(plot.settings).of(MessageCreated)
        records = enumerate(Messages(plot).records(count))
        deliveries = [
            Delivery(
                a_message(number),
                charge_message,
                topic,
                Record(topic.name, 0, number, 0, "CreateTime", one.key, one.value, one.headers),
                None,
            )
            for number, one in records
        ]
        batches = [deliveries[first : first + _BATCH] for first in range(0, count, _BATCH)]
        took = asyncio.run(_charge_all(plot, batches))
        say(f"SQL from memory: {count / took:,.0f} messages/s")
        return count / took


async def _charge_all(plot: Plot, batches: Sequence[Sequence[Delivery]]) -> float:
    database = Database(plot.settings, effects_pool_size=_AT_ONCE)
    place, waiting = WorkerIdentity("high", 0, "memory"), iter(batches)

    async def charge_batches() -> None:
        for batch in waiting:
            async with effect_session(database.effects, 60.0) as session:
                await claim.claim_effect(session, batch, place)
                uses = [use_of(one.event) for one in batch if isinstance(one.event, MessageCreated)]
                await record_uses(session, uses)

    began = time.perf_counter()
    await asyncio.gather(*(charge_batches() for _ in range(_AT_ONCE)))
    took = time.perf_counter() - began
    await database.dispose()
    return took


def _celery(ground: Ground, count: int) -> float:
    """Messages a second by as many processes as there are cores, all tasks in Redis before it begins."""
    with ground.plot("celery") as plot:
        _providers(plot)
        app.conf.broker_url = plot.environment["STREAMS_REDIS_URL"]
        for number in range(count):
            message = a_message(number)
            charge.delay(message.tenant_id, message.message_tokens + message.answer_tokens)
        worker = ServerProcess("Celery", plot.folder / "celery", stop_timeout=20.0)
        broker = plot.environment["STREAMS_REDIS_URL"]
        command = (
            "-m",
            "celery",
            "-A",
            "benchmarks.contenders.celery_tasks",
            "-b",
            broker,
            "worker",
            "-c",
            "2",
            "-l",
            "warning",
        )
        worker.start([sys.executable, *command], environment={**plot.environment, "PYTHONPATH": str(ROOT)})
        try:
            took = _wait_charged(plot, count)
        finally:
            worker.stop()
        say(f"Celery: {count / took:,.0f} messages/s")
        return count / took
