"""The schedules of the platform on a real worker with its own handlers: each runs from its slot to success."""

from collections.abc import Callable

import pytest

from streams.runtime.declarations import build_catalogue, build_handlers
from streams.runtime.schedules import build_schedules
from streams.settings import Settings
from tests.support.cli import Commands
from tests.support.processes.worker_process import WorkerProcess, wait_for

MakeWorker = Callable[..., WorkerProcess]
SECTION = "Schedules"
ON = {
    **{
        f"STREAMS_{name}_ENABLED": "true"
        for name in (
            *("CLEAN_EMBEDDING_CACHE", "CLEAN_UNUSED_DATASETS", "CLEAN_MESSAGES", "CLEAN_WORKFLOW_RUNS"),
            *("QUEUE_MONITOR", "DEAD_LETTER_ALERTS", "DOCUMENT_NOTICES", "TIDB_CLUSTERS", "TIDB_STATUS"),
        )
    },
    "STREAMS_PLUGIN_DAEMON_URL": "http://127.0.0.1:1",
    "STREAMS_PLUGIN_DAEMON_KEY": "k",
    "STREAMS_MARKETPLACE_URL": "http://127.0.0.1:1",
    "STREAMS_TIDB_API_URL": "http://127.0.0.1:1",
    "STREAMS_TIDB_IAM_URL": "http://127.0.0.1:1",
    "STREAMS_TIDB_PROJECT_ID": "p",
    "STREAMS_TIDB_PUBLIC_KEY": "u",
    "STREAMS_TIDB_PRIVATE_KEY": "v",
    "STREAMS_TIDB_FREE_CLUSTERS": "0",
}


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Return the test's settings with every schedule switched on."""
    return {**environment, **ON}


@pytest.mark.requirement(SECTION, "the schedules: each is an event of its own with a handler, behind a setting")
def test_each_schedule_runs_to_success(topics: Settings, worker: MakeWorker, commands: Commands) -> None:
    """There is nothing to do, so each run ends with its first step."""
    catalogue = build_catalogue(topics)
    declared = build_schedules(topics, catalogue, build_handlers(topics))
    names = sorted(schedule.name for schedule in declared)
    assert all(schedule.enabled for schedule in declared)
    one = worker().start()
    wait_for(lambda: [row["name"] for row in commands.rows("schedules", "list") if row["next_slot"]] == names, "slots")
    for name in names:
        commands.json("schedules", "trigger", name)

    def last() -> dict[str, object]:
        return {str(row["name"]): row["last_status"] for row in commands.rows("schedules", "list")}

    wait_for(lambda: set(last().values()) == {"success"}, "every run to succeed", 60)
    assert one.stop() == 0
