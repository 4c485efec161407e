"""Saving the states of workflow node executions, compared with Celery (one task per state, as the platform does)."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from confluent_kafka import Producer
from redis import Redis

from benchmarks.celery_worker import celery_worker
from benchmarks.contenders.celery_tasks import app, save_node_execution
from benchmarks.environment import Sandbox, Servers, say, wait_until
from benchmarks.messages import APPS, TENANTS
from benchmarks.result import Result, Results
from schemas import WorkflowNodeExecutionSaved
from streams.codec import build_codec
from streams.runtime.declarations import build_catalogue
from streams.transport.kafka.client import producer_config

EXECUTIONS = 30_000
"""Each has two states: `running`, then `succeeded`."""
_CELERY_SHARE = 15
_NODES = 10
"""Per run."""
_STARTED = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
_ANSWER = "An answer of a model, with some sentences that a person reads in the log of the run. " * 8
_TIMEOUT = 900.0
_POLL = 0.2
_QUEUE = "celery"
"""Celery's default queue, a list in Redis."""
"""Seconds between two counts. A count reads the whole table."""
_SAVED = "select count(*) from workflow_node_executions"
_FINAL = f"{_SAVED} where status = 'succeeded'"


def run(servers: Servers, scale: float) -> Results:
    """Saved states per second of each contender; each execution must have its final state."""
    count = max(round(EXECUTIONS * scale), 6_000)
    ours, exact = _pipeline(servers, count)
    celery = _celery(servers, max(500, count // _CELERY_SHARE))
    detail = {"pipeline": round(ours), "Celery": round(celery), "executions": count, "states": 2 * count}
    yield Result("saving-executions-exact", exact, "of the final states", "at least", 1.0, detail)
    yield Result("saving-executions-to-celery", ours / celery, "times Celery", "at least", 10.0, detail)


def make_states(number: int) -> Iterator[WorkflowNodeExecutionSaved]:
    """Yield the two states of an execution, as the sender publishes them."""
    tenant, of_app = UUID(int=number % TENANTS + 1), UUID(int=number % APPS + 1)
    run_id = UUID(int=(1 << 90) + number // _NODES)
    known: dict[str, object] = {
        "tenant_id": str(tenant),
        "run_id": str(run_id),
        "execution_id": str(UUID(int=(1 << 91) + number)),
        "node_execution_id": f"node-{number}",
        "app_id": str(of_app),
        "workflow_id": str(of_app),
        "triggered_from": "workflow-run",
        "index": number % _NODES,
        "predecessor_node_id": "start",
        "node_id": "llm",
        "node_type": "llm",
        "title": "Ask the model",
        "inputs": json.dumps({"question": f"What is in room {number}?"}),
        "created_by_role": "account",
        "created_by": str(tenant),
        "started_at": _STARTED,
    }
    yield WorkflowNodeExecutionSaved.model_validate({**known, "status": "running"})
    end = {
        "status": "succeeded",
        "process_data": json.dumps({"prompts": [{"role": "user", "text": _ANSWER}]}),
        "outputs": json.dumps({"text": _ANSWER, "usage": {"total_tokens": 280, "total_price": "0.001"}}),
        "metadata": json.dumps({"total_tokens": 280, "currency": "USD"}),
        "elapsed_time": 1.5,
        "finished_at": _STARTED + timedelta(seconds=1.5),
    }
    yield WorkflowNodeExecutionSaved.model_validate({**known, **end})


def _pipeline(servers: Servers, count: int) -> tuple[float, float]:
    """Return states per second, and the executions with their final state as a share of all."""
    with servers.sandbox("saving", STREAMS_PARTITIONS="4", STREAMS_POOLS="high") as sandbox:
        _fill(sandbox, count)
        with sandbox.worker():
            rate = _rate(sandbox, count)
        say(f"pipeline: {rate:,.0f} states/s")
        return rate, sandbox.scalar(_FINAL) / count


def _fill(sandbox: Sandbox, count: int) -> None:
    codec = build_codec(sandbox.settings, build_catalogue(sandbox.settings))
    producer = Producer({**producer_config(sandbox.settings, 60.0), "linger.ms": 50})
    for number in range(count):
        for state in make_states(number):
            record = codec.encode(state)
            producer.produce(record.topic, key=record.key, value=record.value, headers=list(record.headers))
        producer.poll(0)
        if len(producer) > 50_000:  # noqa: PLR2004 - half of the client's queue
            producer.poll(0.1)
    if producer.flush(60):
        message = "Kafka did not take the events"
        raise RuntimeError(message)


def _celery(servers: Servers, count: int) -> float:
    """Return states per second with one process per core. All tasks are in Redis before the start."""
    with servers.sandbox("celery") as sandbox:
        app.conf.broker_url = sandbox.environment["STREAMS_REDIS_URL"]
        for number in range(count):
            for state in make_states(number):
                save_node_execution.delay(
                    execution_data=_execution_data(state),
                    tenant_id=state.tenant_id,
                    app_id=state.app_id,
                    triggered_from=state.triggered_from,
                    creator_user_id=state.created_by,
                )
        with celery_worker(sandbox):
            rate = _queue_rate(sandbox)
        say(f"Celery: {rate:,.0f} states/s")
        return rate


def _queue_rate(sandbox: Sandbox) -> float:
    """Return the tasks per second that leave the queue, from the first final state to the empty queue.

    Final states cannot be counted: two tasks of one execution race, and a late `running` overwrites `succeeded`.
    """
    wait_until(lambda: sandbox.scalar(_FINAL) > 0, "the first execution", _TIMEOUT)
    with Redis.from_url(sandbox.environment["STREAMS_REDIS_URL"]) as redis:
        started, before = time.perf_counter(), redis.llen(_QUEUE)
        wait_until(lambda: redis.llen(_QUEUE) == 0, "the queue to be empty", _TIMEOUT)
        return max(1, int(str(before))) / (time.perf_counter() - started)


def _execution_data(state: WorkflowNodeExecutionSaved) -> dict[str, object]:
    return {
        "id": state.execution_id,
        "workflow_execution_id": state.run_id,
        "inputs": json.loads(state.inputs or "{}"),
        "process_data": json.loads(state.process_data or "{}"),
        "outputs": json.loads(state.outputs or "{}"),
        "metadata": json.loads(state.metadata or "{}"),
        "created_at": state.started_at.isoformat(),
        "finished_at": None if state.finished_at is None else state.finished_at.isoformat(),
        **{
            name: getattr(state, name)
            for name in ("workflow_id", "node_execution_id", "index", "predecessor_node_id", "node_id", "node_type")
        },
        **{name: getattr(state, name) for name in ("title", "status", "error", "elapsed_time")},
    }


def _rate(sandbox: Sandbox, count: int) -> float:
    """Return the states per second from the first final state to the last of `count` executions."""
    wait_until(lambda: sandbox.scalar(_FINAL) > 0, "the first execution", _TIMEOUT)
    started, before = time.perf_counter(), sandbox.scalar(_FINAL)
    deadline = started + _TIMEOUT
    while (saved := sandbox.scalar(_FINAL)) < count:
        if time.perf_counter() > deadline:
            message = f"waited {_TIMEOUT:g} s for {count} executions, {saved} are saved"
            raise TimeoutError(message)
        time.sleep(_POLL)
    return 2 * max(1, count - before) / (time.perf_counter() - started)
