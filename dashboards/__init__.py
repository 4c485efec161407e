"""The Grafana dashboards as code. `python -m dashboards` writes them to `deploy/grafana/dashboards`."""

from pathlib import Path

from dashboards.consumer_lag import CONSUMER_LAG
from dashboards.dead_letters import DEAD_LETTERS
from dashboards.grafana import render
from dashboards.handlers import HANDLERS
from dashboards.outbox_schedules import OUTBOX_SCHEDULES
from dashboards.overview import OVERVIEW
from dashboards.workers import WORKERS

DASHBOARDS = (OVERVIEW, CONSUMER_LAG, HANDLERS, DEAD_LETTERS, OUTBOX_SCHEDULES, WORKERS)

RUNBOOKS = "https://runbooks.example/streams"
"""The address of the folder of the runbooks, for the links. A deployment writes its own: `--runbooks`."""


ALERTS = Path(__file__).parents[1] / "deploy" / "prometheus" / "alerts.yml"


def alert_rules(runbooks: str) -> dict[str, str]:
    """Return the alert rules by the name of their file, with the links to the runbooks at this address."""
    rules = ALERTS.read_text(encoding="utf-8")
    return {ALERTS.name: rules.replace(RUNBOOKS, runbooks)}


def files(runbooks: str = RUNBOOKS) -> dict[str, str]:
    """Return the JSON of each dashboard by the name of its file."""
    return {f"{content.uid}.json": render(content, runbooks) for content in DASHBOARDS}
