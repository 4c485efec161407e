"""The logs of old workflow runs go with everything that belongs to them; conversations that go on stay."""

from dataclasses import dataclass, replace
from uuid import uuid4

import pytest
from sqlalchemy import text

from schemas import WorkflowRunsCleanupRequested
from streams.delivery import Permanent
from streams.dify.cleanup.bounded_deletion import disable_sequential_scans
from streams.dify.models import (
    Conversation,
    Message,
    MessageAnnotation,
    UploadFile,
    WorkflowAppLog,
    WorkflowNodeExecution,
    WorkflowNodeExecutionOffload,
    WorkflowRun,
)
from streams.dify.retention import run_executions, run_messages, workflow_runs
from tests.integration.maintenance.retention_runs import Retention, days_ago
from tests.support.platform.app_leftovers import Talk, add_talk
from tests.support.platform.app_rows import add_app, make_row
from tests.support.platform.cleanup_steps import left, stored

SECTION = "Schedules"
OLD, YOUNG = 31, 29
OTHER_INDEXES = ("workflow_node_execution_id_idx", "workflow_node_execution_node_run_idx")


@dataclass(frozen=True)
class Logged:
    """A run with a row in the logs of its app, and an execution whose outputs are in the storage."""

    id: str
    execution_id: str
    file: str

    async def left(self, retention: Retention) -> dict[str, int]:
        """Count the rows of the run."""
        site = retention.site
        return {
            "runs": await site.count(WorkflowRun, id=self.id),
            **await left(site, workflow_run_id=self.id),
            **await left(site, node_execution_id=self.execution_id),
        }


ALL = {"runs": 1, "workflow_app_logs": 1, "workflow_node_executions": 1, "workflow_node_execution_offload": 1}


async def _run(retention: Retention, days: float, status: str = "succeeded", **columns: object) -> Logged:
    site, run_id, execution_id = retention.site, str(uuid4()), str(uuid4())
    owner = {"tenant_id": site.tenant_id, "app_id": str(uuid4()), "workflow_id": str(uuid4()), **columns}
    key = f"upload_files/{site.tenant_id}/{uuid4()}.txt"
    await site.platform.storage.write(key, b"outputs")
    file = make_row(UploadFile, id=str(uuid4()), tenant_id=site.tenant_id, key=key)
    of_run = {**owner, "created_at": days_ago(days)}
    await site.add(
        make_row(WorkflowRun, id=run_id, status=status, triggered_from="app-run", **of_run),
        make_row(WorkflowAppLog, workflow_run_id=run_id, **of_run),
        make_row(
            WorkflowNodeExecution, id=execution_id, workflow_run_id=run_id, triggered_from="workflow-run", **of_run
        ),
        file,
        make_row(
            WorkflowNodeExecutionOffload,
            node_execution_id=execution_id,
            file_id=file.id,  # type: ignore[attr-defined] # an upload file
            tenant_id=site.tenant_id,
            app_id=owner["app_id"],
            type="outputs",
        ),
    )
    return Logged(run_id, execution_id, key)


async def _talk(retention: Retention, run: Logged, days: float = OLD) -> Talk:
    """Add a conversation whose message belongs to a run. It was last continued with the message."""
    site = retention.site
    talk = await add_talk(site, await add_app(site), created_at=days_ago(days), workflow_run_id=run.id)
    await retention.sql("update conversations set updated_at = :at where id = :id", at=days_ago(days), id=talk.id)
    return talk


async def _add_executions(retention: Retention, count: int) -> None:
    """Add executions without large values to each run."""
    await retention.sql(
        "insert into workflow_node_executions (tenant_id, app_id, workflow_id, triggered_from, workflow_run_id, index,"
        " node_id, node_type, title, status, created_by_role, created_by) select tenant_id, app_id, workflow_id,"
        " 'workflow-run', id, number, 'n', 'llm', 't', 'succeeded', 'account', tenant_id"
        " from workflow_runs, generate_series(1, :count) as number",
        count=count,
    )


@pytest.mark.requirement(SECTION, "clean-workflow-runlogs: old runs go with logs, executions, large values and files")
async def test_old_runs_go(retention: Retention) -> None:
    """Repeated, nothing changes. Only the files of young runs stay."""
    old = [await _run(retention, OLD, status) for status in workflow_runs.FINAL]
    young = await _run(retention, YOUNG)
    assert await old[0].left(retention) == ALL

    removed = await retention.run(WorkflowRunsCleanupRequested())

    assert removed == {
        "workflow_runs": 4,
        "workflow_app_logs": 4,
        "workflow_node_executions": 4,
        "workflow_node_execution_offload": 4,
        "upload_files": 4,
    }
    for one in old:
        assert await one.left(retention) == {"runs": 0}
    assert await young.left(retention) == ALL
    assert stored(retention.site) == {young.file}
    assert await retention.run(WorkflowRunsCleanupRequested()) == {}


@pytest.mark.requirement(SECTION, "clean-workflow-runlogs: a run that has not ended stays, until nothing continues it")
async def test_unfinished_runs_stay(retention: Retention) -> None:
    running, forgotten = await _run(retention, 45, "running"), await _run(retention, 52, "running")
    talk = await _talk(retention, running, 45)
    await retention.run(WorkflowRunsCleanupRequested())
    assert await running.left(retention) == ALL | {"messages": 1}
    assert await retention.site.count(Conversation, id=talk.id) == 1
    assert await forgotten.left(retention) == {"runs": 0}


@pytest.mark.requirement(SECTION, "clean-workflow-runlogs: no conversation is deleted that has newer messages")
@pytest.mark.requirement(SECTION, "clean-workflow-runlogs: a conversation without messages goes, also if it is pinned")
async def test_conversations_that_go_on_stay(retention: Retention) -> None:
    """Today one old run in it deletes a conversation, and its newer messages lead nowhere."""
    site = retention.site
    talks = [await _talk(retention, await _run(retention, OLD)) for _ in range(4)]
    gone, answered, continued, shared = talks
    newer = {"conversation_id": answered.id, "app_id": answered.app_id, "created_at": days_ago(1)}
    # Older than the cutoff too, but of no run.
    other = {"conversation_id": shared.id, "app_id": shared.app_id, "created_at": days_ago(40)}
    await site.add(make_row(Message, **newer), make_row(Message, **other))
    await retention.sql("update conversations set updated_at = :at where id = :id", at=days_ago(2), id=continued.id)

    removed = await retention.run(WorkflowRunsCleanupRequested())

    assert (removed["messages"], removed["conversations"]) == (4, 1)
    assert await gone.left(site) == {}
    assert await site.count(Conversation, id=gone.id) == 0
    kept = {"tool_conversation_variables", "workflow_conversation_variables", "pinned_conversations"}
    for talk in (answered, continued, shared):
        assert await site.count(Conversation, id=talk.id) == 1
        assert set(await talk.left(site)) - {"messages"} == kept
        assert await site.count(Message, id=talk.message_id) == 0
    assert await site.count(Message, conversation_id=answered.id) == 1


@pytest.mark.requirement(SECTION, "clean-workflow-runlogs: annotations stay, and answer as before")
async def test_annotations_stay(retention: Retention) -> None:
    talk = await _talk(retention, await _run(retention, OLD))
    removed = await retention.run(WorkflowRunsCleanupRequested())
    assert removed["annotations detached"] == 1
    assert await retention.site.count(MessageAnnotation, id=talk.annotation_id, message_id=None) == 1


@pytest.mark.requirement(SECTION, "clean-workflow-runlogs: bounded steps, and killed or repeated ones do no harm")
async def test_bounded_steps_end(retention: Retention, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step ends after its first batch. One run cannot be deleted, and does not repeat the steps."""
    monkeypatch.setattr(workflow_runs, "RUNS_PER_PAGE", 3)
    monkeypatch.setattr(run_messages, "MESSAGES_PER_PAGE", 3)
    stuck, *runs = [await _run(retention, OLD) for _ in range(8)]
    young = [await _run(retention, YOUNG) for _ in range(4)]
    for run in runs[:4]:
        await _talk(retention, run)
    await retention.sql("create function keep() returns trigger language plpgsql as 'begin return null; end'")
    await retention.sql(
        "create trigger keep before delete on workflow_runs for each row"
        f" when (old.id = '{stuck.id}') execute function keep()"
    )
    hurried = replace(retention.hurried(), periods=replace(retention.periods, step_seconds=0.0, workflow_runs_batch=2))

    event = WorkflowRunsCleanupRequested()
    (second,) = await hurried.step(event)
    await hurried.step(event)  # the first step again, as after a crash
    await hurried.run(second, steps=30)

    assert len(retention.results) > 6
    assert [await one.left(retention) for one in runs] == [{"runs": 0}] * 7
    assert [await one.left(retention) for one in young] == [ALL] * 4
    assert await stuck.left(retention) == {"runs": 1}
    assert await retention.site.count(Conversation) == 0
    assert stored(retention.site) == {one.file for one in young}


@pytest.mark.requirement(SECTION, "clean-workflow-runlogs: bounded steps, and killed or repeated ones do no harm")
async def test_a_run_with_many_executions_goes(retention: Retention, monkeypatch: pytest.MonkeyPatch) -> None:
    """More executions than one statement deletes, some with large values."""
    monkeypatch.setattr(run_executions, "EXECUTIONS_PER_STATEMENT", 2)
    runs = [await _run(retention, OLD) for _ in range(3)]
    await _add_executions(retention, 5)
    removed = await retention.run(WorkflowRunsCleanupRequested())
    assert (removed["workflow_runs"], removed["workflow_node_executions"]) == (3, 18)
    assert [await one.left(retention) for one in runs] == [{"runs": 0}] * 3
    assert stored(retention.site) == set()


@pytest.mark.requirement(SECTION, "clean-workflow-runlogs: an execution that cannot be deleted keeps its run alone")
@pytest.mark.parametrize("refusal", ["return null", "raise ''no''"])
async def test_an_execution_that_stays_keeps_its_run(retention: Retention, refusal: str) -> None:
    """Without its run nothing would lead to it any more."""
    kept, *others = [await _run(retention, OLD) for _ in range(3)]
    await _add_executions(retention, 2)
    await retention.sql(f"create function keep() returns trigger language plpgsql as 'begin {refusal}; end'")
    await retention.sql(
        "create trigger keep before delete on workflow_node_executions for each row"
        f" when (old.workflow_run_id = '{kept.id}' and old.index = 2) execute function keep()"
    )
    for _ in range(2):
        await retention.run(WorkflowRunsCleanupRequested())
        assert await retention.site.count(WorkflowRun, id=kept.id) == 1
        assert await retention.site.count(WorkflowNodeExecution) == 1
        assert [await one.left(retention) for one in others] == [{"runs": 0}] * 2


@pytest.mark.requirement(SECTION, "clean-workflow-runlogs: executions are found by the index that has the run")
async def test_no_step_reads_all_executions_of_a_workflow(retention: Retention) -> None:
    """All runs are of one workflow, so two smaller indexes that begin with the same columns would find them all."""
    one = {name: str(uuid4()) for name in ("tenant_id", "app_id", "workflow_id")}
    runs = [await _run(retention, OLD, **one) for _ in range(3)]
    await retention.sql(
        "insert into workflow_node_executions (tenant_id, app_id, workflow_id, triggered_from, workflow_run_id, index,"
        " node_id, node_type, title, status, created_by_role, created_by) select tenant_id, app_id, workflow_id,"
        " 'workflow-run', uuid_generate_v4(), 1, 'n', 'llm', 't', 'succeeded', 'account', tenant_id"
        " from workflow_runs, generate_series(1, 10000)"
    )
    await retention.sql("analyze workflow_node_executions")
    await retention.sql("analyze workflow_runs")
    async with retention.site.transaction() as session:
        await disable_sequential_scans(session)
        await session.execute(run_executions.USE_INDEX_ORDER)
        parameters = {"runs": [run.id for run in runs], "triggers": list(run_executions.NODES_OF), "limit": 100}
        for statement in (run_executions.FIND, run_executions.DELETE):
            plan = "\n".join(await session.scalars(text(f"explain {statement.text}"), parameters))
            assert "workflow_node_execution_workflow_run_idx" in plan
            assert not set(OTHER_INDEXES) & set(plan.split())


async def test_a_wrong_cursor_is_refused(retention: Retention) -> None:
    for cursor in ("runs/1", "elsewhere"):
        with pytest.raises(Permanent, match="cursor"):
            await retention.step(WorkflowRunsCleanupRequested(cursor=cursor))
