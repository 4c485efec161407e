"""States of workflow runs and node executions are saved as if each was saved alone, in the right order."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from schemas import Event, WorkflowNodeExecutionSaved, WorkflowRunSaved
from streams.agents.apps.workflow_runs import node_execution_row, run_row, save_node_execution, save_workflow_run
from streams.delivery import Permanent
from streams.delivery.handler import Handler
from streams.dify.errors import RefusedError
from streams.dify.models import App, Model, Pipeline, Workflow, WorkflowNodeExecution, WorkflowRun
from streams.dify.workflows import upsert
from tests.support.platform.handler_runs import Site, open_site

SECTION = "The whole domain"
STARTED = datetime(2026, 11, 1, 10, 0, 0, 250_000, tzinfo=UTC)
RUN, NODE = "workflow.run-saved", "workflow.node-execution-saved"
STORED = datetime(2026, 11, 1, 10, 0, 0, 250_000)  # noqa: DTZ001 - as the platform's columns have it


@pytest.fixture
async def site(database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(database_url, tmp_path) as opened:
        yield opened


def a_run(site: Site, run_id: str, status: str, **fields: object) -> WorkflowRunSaved:
    known: dict[str, object] = {
        "tenant_id": site.tenant_id,
        "run_id": run_id,
        "app_id": str(uuid4()),
        "workflow_id": str(uuid4()),
        "workflow_type": "workflow",
        "workflow_version": "2026-10-01",
        "triggered_from": "app-run",
        "status": status,
        "created_by_role": "account",
        "created_by": str(uuid4()),
        "started_at": STARTED,
        "occurred_at": STARTED + timedelta(seconds=1),
    }
    return WorkflowRunSaved.model_validate({**known, **fields})


def a_node(site: Site, execution_id: str, status: str, **fields: object) -> WorkflowNodeExecutionSaved:
    known: dict[str, object] = {
        "tenant_id": site.tenant_id,
        "run_id": str(uuid4()),
        "execution_id": execution_id,
        "node_execution_id": "the engine's own id",
        "app_id": str(uuid4()),
        "workflow_id": str(uuid4()),
        "triggered_from": "workflow-run",
        "index": 3,
        "predecessor_node_id": "start",
        "node_id": "llm",
        "node_type": "llm",
        "title": "Ask",
        "status": status,
        "created_by_role": "end_user",
        "created_by": str(uuid4()),
        "started_at": STARTED,
    }
    return WorkflowNodeExecutionSaved.model_validate({**known, **fields})


def finished(seconds: float) -> datetime:
    return STARTED + timedelta(seconds=seconds)


async def _rows(site: Site, model: type[Model]) -> list[dict[str, Any]]:
    async with site.transaction() as session:
        found = (await session.execute(select(model.__table__).order_by(model.__table__.c.id))).mappings()
        return [dict(row) for row in found]


async def _save(site: Site, handler: Handler[Any], *events: Event) -> None:
    await site.run_batch(handler, events)


@pytest.mark.requirement(SECTION, f"{RUN}: a run is saved with its exceptions_count and the time it started")
async def test_a_run_is_saved(site: Site) -> None:
    """First `running`, later its end, which changes what the platform changes and nothing else."""
    run_id = str(uuid4())
    running = a_run(site, run_id, "running", graph='{"nodes": []}', inputs='{"q": "?"}')
    await _save(site, save_workflow_run, running)
    [row] = await _rows(site, WorkflowRun)
    assert (row["status"], row["elapsed_time"], row["finished_at"], row["outputs"]) == ("running", 1.0, None, "{}")
    end = running.model_copy(
        update={
            "status": "partial-succeeded",
            "outputs": '{"a": "é\x00"}',
            "error": "one node failed",
            "total_tokens": 3_000_000_000,
            "total_steps": 4,
            "exceptions_count": 2,
            "finished_at": finished(2.5),
            "graph": None,
        }
    )
    await _save(site, save_workflow_run, end)
    assert await _rows(site, WorkflowRun) == [
        {
            "id": run_id,
            "tenant_id": site.tenant_id,
            "app_id": running.app_id,
            "workflow_id": running.workflow_id,
            "type": "workflow",
            "triggered_from": "app-run",
            "version": "2026-10-01",
            "graph": '{"nodes": []}',
            "inputs": '{"q": "?"}',
            "status": "partial-succeeded",
            "outputs": '{"a": "é\ufffd"}',
            "error": "one node failed",
            "elapsed_time": 2.5,
            "total_tokens": 3_000_000_000,
            "total_steps": 4,
            "exceptions_count": 2,
            "created_by_role": "account",
            "created_by": running.created_by,
            "created_at": STORED,
            "finished_at": STORED + timedelta(seconds=2.5),
        }
    ]


@pytest.mark.requirement(SECTION, f"{NODE}: an execution is saved with its inputs, outputs and metadata")
async def test_a_node_execution_is_saved(site: Site) -> None:
    """One batch with the start and the end of one node in a run, and of one that ran alone."""
    ran, alone = sorted([str(uuid4()), str(uuid4())])
    start = a_node(site, ran, "running")
    end = start.model_copy(
        update={
            "status": "succeeded",
            "inputs": '{"prompt": "a \\"quoted\\" text"}',
            "outputs": '{"text": "b\\\\c"}',
            "metadata": '{"total_tokens": 7}',
            "elapsed_time": 0.75,
            "finished_at": finished(0.75),
        }
    )
    step = a_node(site, alone, "failed", ran_alone=True, run_id=alone, triggered_from="single-step", title="t" * 300)
    await _save(site, save_node_execution, start, step, end)
    first, second = await _rows(site, WorkflowNodeExecution)
    assert first == {
        "id": ran,
        "tenant_id": site.tenant_id,
        "app_id": start.app_id,
        "workflow_id": start.workflow_id,
        "triggered_from": "workflow-run",
        "workflow_run_id": start.run_id,
        "index": 3,
        "predecessor_node_id": "start",
        "node_execution_id": "the engine's own id",
        "node_id": "llm",
        "node_type": "llm",
        "title": "Ask",
        "inputs": '{"prompt": "a \\"quoted\\" text"}',
        "process_data": "{}",
        "outputs": '{"text": "b\\\\c"}',
        "status": "succeeded",
        "error": None,
        "elapsed_time": 0.75,
        "execution_metadata": '{"total_tokens": 7}',
        "created_by_role": "end_user",
        "created_by": start.created_by,
        "created_at": STORED,
        "finished_at": STORED + timedelta(seconds=0.75),
    }
    assert (second["workflow_run_id"], second["status"], second["title"]) == (None, "failed", "t" * 255)


@pytest.mark.requirement(SECTION, f"{RUN}: a repeated event changes nothing")
@pytest.mark.requirement(SECTION, f"{NODE}: a repeated event changes nothing")
async def test_a_repeat_changes_nothing(site: Site) -> None:
    """The whole history of a run and of a node again, after it was saved."""
    run_id, execution_id = str(uuid4()), str(uuid4())
    running = a_run(site, run_id, "running")
    runs = [running, running.model_copy(update={"status": "stopped", "finished_at": finished(1)})]
    begun = a_node(site, execution_id, "running", run_id=run_id)
    nodes = [begun, begun.model_copy(update={"status": "exception", "error": "e", "finished_at": finished(1)})]
    before = None
    for _ in range(2):
        await _save(site, save_workflow_run, *runs)
        for event in nodes:
            await _save(site, save_node_execution, event)
        after = (await _rows(site, WorkflowRun), await _rows(site, WorkflowNodeExecution))
        assert before is None or after == before
        before = after


@pytest.mark.requirement(SECTION, f"{RUN}: a final state is never overwritten by a late `running`")
@pytest.mark.requirement(SECTION, f"{NODE}: a final state is never overwritten by a late `running`")
@pytest.mark.parametrize("together", [True, False], ids=["one batch", "two batches"])
async def test_a_late_running_changes_nothing(site: Site, *, together: bool) -> None:
    """Also where the platform itself has written the final state, while the event waited."""
    run_id, execution_id, theirs = str(uuid4()), str(uuid4()), str(uuid4())
    run = a_run(site, run_id, "running")
    node = a_node(site, execution_id, "running")
    written = run_row(a_run(site, theirs, "failed", error="the platform's", finished_at=finished(9)))
    await site.add(WorkflowRun(**{name: getattr(written, name) for name in type(written).__dataclass_fields__}))
    ends = [each.model_copy(update={"status": "succeeded", "finished_at": finished(1)}) for each in (run, node)]
    for handler, late, end in ((save_workflow_run, run, ends[0]), (save_node_execution, node, ends[1])):
        if together:
            await _save(site, handler, end, late)
        else:
            await _save(site, handler, end)
            await _save(site, handler, late)
    await _save(site, save_workflow_run, a_run(site, theirs, "running"))
    assert {row["id"]: row["status"] for row in await _rows(site, WorkflowRun)} == {
        run_id: "succeeded",
        theirs: "failed",
    }
    assert [row["status"] for row in await _rows(site, WorkflowNodeExecution)] == ["succeeded"]


@pytest.mark.requirement(SECTION, f"{RUN}: of two final states the one that finished later is kept, in any order")
async def test_the_later_of_two_final_states_is_kept(site: Site) -> None:
    """In each order, together or apart, the row is the same. At the same time, the greater state is kept."""
    states = [
        ("failed", finished(1), '{"n": 1}'),
        ("stopped", finished(3), '{"n": 2}'),
        ("succeeded", finished(3), '{"n": 3}'),
        ("succeeded", finished(3), '{"n": 4}'),
        ("failed", None, '{"n": 5}'),
        ("running", None, None),
    ]
    for order in random.Random(7).sample(list(permutations(states)), 25):
        run_id, cut = str(uuid4()), random.Random(7).randrange(len(states))
        events = [a_run(site, run_id, status, finished_at=end, outputs=out) for status, end, out in order]
        for part in (events[:cut], events[cut:]):
            if part:
                await _save(site, save_workflow_run, *part)
    rows = await _rows(site, WorkflowRun)
    assert {(row["status"], row["finished_at"], row["outputs"]) for row in rows} == {
        ("succeeded", STORED + timedelta(seconds=3), '{"n": 4}')
    }


@pytest.mark.requirement(SECTION, f"{NODE}: many events in batches leave what they leave one by one")
async def test_batches_equal_one_by_one(site: Site) -> None:
    """Random histories of 20 executions, with `retry` and `paused`, cut into batches anywhere."""
    choice = random.Random(11)
    ids = [str(uuid4()) for _ in range(20)]
    states = ["pending", "running", "paused", "retry", "succeeded", "failed", "stopped", "exception"]
    first = {id_: a_node(site, id_, "pending") for id_ in ids}
    events = [
        first[id_].model_copy(
            update={"status": status, "finished_at": finished(choice.randrange(3)), "outputs": f'{{"n": {number}}}'}
        )
        for number, (id_, status) in enumerate((choice.choice(ids), choice.choice(states)) for _ in range(120))
    ]
    outcomes = []
    for sizes in (range(1, 2), range(1, 40)):
        await site.delete(WorkflowNodeExecution)
        rest: Sequence[Event] = events
        while rest:
            size = choice.choice(sizes)
            await _save(site, save_node_execution, *rest[:size])
            rest = rest[size:]
        outcomes.append(await _rows(site, WorkflowNodeExecution))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == len(ids)


@pytest.mark.requirement(SECTION, f"{RUN}: two workers that save one run at the same time lose nothing")
async def test_two_workers_save_the_same_runs(site: Site) -> None:
    """Both have all runs, in opposite orders: no unique violation, no deadlock, and the final states are kept."""
    ids = [str(uuid4()) for _ in range(200)]
    starts = [a_run(site, id_, "running") for id_ in ids]
    ends = [one.model_copy(update={"status": "succeeded", "finished_at": finished(1)}) for one in reversed(starts)]
    await asyncio.gather(_save(site, save_workflow_run, *ends), _save(site, save_workflow_run, *starts))
    assert {row["status"] for row in await _rows(site, WorkflowRun)} == {"succeeded"}


@pytest.mark.requirement(SECTION, f"{NODE}: large values go in several statements")
async def test_large_values_go_in_several_statements(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL limits a statement to 1 GB. Here, three texts of 1 MB, each more than a statement may have."""
    monkeypatch.setattr(upsert, "STATEMENT_CHARACTERS", 500_000)
    large = [a_node(site, str(uuid4()), "succeeded", outputs=str(number) * 1_000_000) for number in range(3)]
    await _save(site, save_node_execution, *large)
    assert {row["outputs"][:2] for row in await _rows(site, WorkflowNodeExecution)} == {"00", "11", "22"}


@pytest.mark.requirement(SECTION, f"{RUN}: an event that cannot be right is a dead letter")
@pytest.mark.requirement(SECTION, f"{NODE}: an event that cannot be right is a dead letter")
async def test_what_cannot_be_right_is_refused(site: Site) -> None:
    """The row of a correct event in the same batch is not written either. The engine halves the batch."""
    for wrong in (
        {"tenant_id": None},
        {"tenant_id": "t1"},
        {"app_id": ""},
        {"status": "done"},
        {"status": "x" * 300},
        {"created_by": "someone"},
        {"workflow_id": "w\x00"},
    ):
        run, node = (make(site, str(uuid4()), "running") for make in (a_run, a_node))
        with pytest.raises(Permanent):
            await _save(site, save_workflow_run, run, a_run(site, str(uuid4()), "running").model_copy(update=wrong))
        with pytest.raises(Permanent):
            await _save(site, save_node_execution, node, a_node(site, str(uuid4()), "running").model_copy(update=wrong))
    assert (await site.count(WorkflowRun), await site.count(WorkflowNodeExecution)) == (0, 0)


def test_numbers_outside_their_columns_are_refused(site: Site) -> None:
    for field, value in (("total_tokens", 2**63), ("total_steps", -1), ("exceptions_count", 2**31)):
        with pytest.raises(Permanent, match=field):
            run_row(a_run(site, str(uuid4()), "running").model_copy(update={field: value}))
    with pytest.raises(Permanent, match="index"):
        node_execution_row(a_node(site, str(uuid4()), "running", index=-1))
    with pytest.raises(RefusedError, match="node_id"):
        node_execution_row(a_node(site, str(uuid4()), "running", node_id="n" * 256))


TENANTS = "an event of one tenant that names another's run, app or workflow changes nothing"


@pytest.mark.requirement(SECTION, f"{RUN}: {TENANTS}")
@pytest.mark.requirement(SECTION, f"{NODE}: {TENANTS}")
async def test_an_event_of_one_tenant_changes_nothing_of_another(site: Site) -> None:
    """Their run, execution, app, pipeline and workflow. Each is a dead letter, and no row changes."""
    other = str(uuid4())
    app = App(id=str(uuid4()), tenant_id=other, name="a", mode="workflow", enable_site=True, enable_api=True)
    pipeline = Pipeline(id=str(uuid4()), tenant_id=other, name="p")
    workflow = Workflow(
        id=str(uuid4()),
        tenant_id=other,
        app_id=app.id,
        type="workflow",
        version="draft",
        graph="{}",
        features="{}",
        created_by=str(uuid4()),
        updated_at=STORED,
    )
    await site.add(app, pipeline, workflow)
    own = {"app_id": app.id, "workflow_id": workflow.id}
    run = a_run(site, str(uuid4()), "running", tenant_id=other, **own)
    node = a_node(site, str(uuid4()), "running", tenant_id=other, run_id=run.run_id, **own)
    await _save(site, save_workflow_run, run)
    await _save(site, save_node_execution, node)
    before = (await _rows(site, WorkflowRun), await _rows(site, WorkflowNodeExecution))
    end = {"finished_at": finished(1)}
    forged: list[tuple[Handler[Any], Event]] = [
        (save_workflow_run, a_run(site, run.run_id, "succeeded", **end)),
        (save_workflow_run, a_run(site, str(uuid4()), "succeeded", app_id=app.id)),
        (save_workflow_run, a_run(site, str(uuid4()), "succeeded", app_id=pipeline.id)),
        (save_workflow_run, a_run(site, str(uuid4()), "succeeded", workflow_id=workflow.id)),
        (save_node_execution, a_node(site, node.execution_id, "succeeded", **end)),
        (save_node_execution, a_node(site, str(uuid4()), "succeeded", app_id=app.id)),
        (save_node_execution, a_node(site, str(uuid4()), "succeeded", workflow_id=workflow.id)),
        (save_node_execution, a_node(site, str(uuid4()), "succeeded", run_id=run.run_id)),
    ]
    for handler, event in forged:
        with pytest.raises(Permanent, match="belongs to another tenant than the event"):
            await _save(site, handler, event)
    mixed = str(uuid4())
    with pytest.raises(Permanent, match="belongs to another tenant than the event"):
        await _save(
            site, save_workflow_run, a_run(site, mixed, "running"), a_run(site, mixed, "failed", tenant_id=other)
        )
    assert (await _rows(site, WorkflowRun), await _rows(site, WorkflowNodeExecution)) == before
