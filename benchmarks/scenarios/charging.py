"""Charging messages exactly once, compared with the same SQL from memory and with Celery (one task per message)."""

import asyncio
import time
from collections.abc import Sequence

from sqlalchemy import text

from benchmarks.celery_worker import celery_worker
from benchmarks.contenders.celery_tasks import app, charge
from benchmarks.environment import Sandbox, Servers, say, wait_until
from benchmarks.messages import TENANTS, Messages, make_message
from benchmarks.result import Result, Results
from schemas import MessageCreated
from streams.agents.apps.message_quota import charge_message, usage_of
from streams.database import Database
from streams.delivery.delivery import Delivery
from streams.delivery.execution.transaction import effect_session
from streams.delivery.ledger import claim
from streams.delivery.ledger.columns import WorkerIdentity
from streams.dify.quota import record_usage
from streams.topics import load_catalogue
from streams.transport.kafka.records import Record

EVENTS = 100_000
_CELERY_SHARE = 20
_CONCURRENCY = 4
"""As many transactions as the topic has partitions."""
_BATCH = 500
_TIMEOUT = 900.0
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


def run(servers: Servers, scale: float) -> Results:
    """Charged messages per second of each contender; each message must be charged exactly once."""
    count = max(round(EVENTS * scale), 5_000)
    ours, exact = _pipeline(servers, count)
    memory = _from_memory(servers, count)
    celery = _celery(servers, max(1_000, count // _CELERY_SHARE))
    detail = {"pipeline": round(ours), "SQL from memory": round(memory), "Celery": round(celery), "messages": count}
    yield Result("charging-exact", exact, "of what was to be charged", "at least", 1.0, detail)
    yield Result("charging-to-sql", ours / memory, "times the SQL alone", "at least", 0.3, detail)
    yield Result("charging-to-celery", ours / celery, "times Celery", "at least", 10.0, detail)


def _providers(sandbox: Sandbox) -> None:
    with sandbox.engine.begin() as connection:
        connection.execute(_PROVIDERS, {"last": TENANTS - 1})


def _wait_charged(sandbox: Sandbox, count: int) -> float:
    """Return the seconds from the first charged message to the last of `count`."""
    wait_until(lambda: sandbox.scalar(_CHARGED) > 0, "the first charge", _TIMEOUT)
    started, before = time.perf_counter(), sandbox.scalar(_CHARGED)
    wait_until(lambda: sandbox.scalar(_CHARGED) >= count * _TOKENS, "the last charge", _TIMEOUT)
    done = count * _TOKENS - before
    return (time.perf_counter() - started) * count * _TOKENS / max(1, done)


def _pipeline(servers: Servers, count: int) -> tuple[float, float]:
    """Return messages per second, and the charged amount as a share of the expected one."""
    with servers.sandbox("charging", STREAMS_PARTITIONS="4", STREAMS_POOLS="high") as sandbox:
        _providers(sandbox)
        Messages(sandbox).fill(count)
        with sandbox.worker():
            took = _wait_charged(sandbox, count)
        say(f"pipeline: {count / took:,.0f} messages/s")
        return count / took, sandbox.scalar(_CHARGED) / (count * _TOKENS)


def _from_memory(servers: Servers, count: int) -> float:
    """Run the same statements, batches and concurrent transactions, without Kafka and without an engine."""
    with servers.sandbox("memory", STREAMS_PARTITIONS="4") as sandbox:
        _providers(sandbox)
        topic = load_catalogue(sandbox.settings).of(MessageCreated)
        records = enumerate(Messages(sandbox).records(count))
        deliveries = [
            Delivery(
                make_message(number),
                charge_message,
                topic,
                Record(topic.name, 0, number, 0, "CreateTime", one.key, one.value, one.headers),
                None,
            )
            for number, one in records
        ]
        batches = [deliveries[first : first + _BATCH] for first in range(0, count, _BATCH)]
        took = asyncio.run(_charge_all(sandbox, batches))
        say(f"SQL from memory: {count / took:,.0f} messages/s")
        return count / took


async def _charge_all(sandbox: Sandbox, batches: Sequence[Sequence[Delivery]]) -> float:
    database = Database(sandbox.settings, effects_pool_size=_CONCURRENCY)
    place, waiting = WorkerIdentity("high", 0, "memory"), iter(batches)

    async def charge_batches() -> None:
        for batch in waiting:
            async with effect_session(database.effects, 60.0) as session:
                await claim.claim_effect(session, batch, place)
                uses = [usage_of(one.event) for one in batch if isinstance(one.event, MessageCreated)]
                await record_usage(session, uses)

    started = time.perf_counter()
    await asyncio.gather(*(charge_batches() for _ in range(_CONCURRENCY)))
    took = time.perf_counter() - started
    await database.dispose()
    return took


def _celery(servers: Servers, count: int) -> float:
    """Return messages per second with one process per core. All tasks are in Redis before the start."""
    with servers.sandbox("celery") as sandbox:
        _providers(sandbox)
        app.conf.broker_url = sandbox.environment["STREAMS_REDIS_URL"]
        for number in range(count):
            message = make_message(number)
            charge.delay(message.tenant_id, message.message_tokens + message.answer_tokens)
        with celery_worker(sandbox):
            took = _wait_charged(sandbox, count)
        say(f"Celery: {count / took:,.0f} messages/s")
        return count / took
