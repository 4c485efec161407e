"""The alert rules: each says what it means, names its runbook, and has a unit test in promtool's format."""

import pytest
import yaml

from dashboards import RUNBOOKS
from tests.support.pages import ROOT
from tests.support.prometheus.promtool import needs_promtool, promtool
from tests.support.prometheus.queries import PROMETHEUS, RULE_FILES, Rule, rules, selectors, unit_test_files

SECTION = "Dashboards and alerts"
ALERTS = [rule for rule in rules() if rule.is_alert]
WANTED = {
    "StreamsBreakerOpen",
    "StreamsCommitsStalled",
    "StreamsCrashSuspect",
    "StreamsDeadLettersUnusual",
    "StreamsEventsLate",
    "StreamsExporterAbsent",
    "StreamsOutboxOld",
    "StreamsRetentionNear",
    "StreamsRetryStorm",
    "StreamsScheduleBroken",
    "StreamsScheduleMissed",
    "StreamsWorkerRestarts",
    "StreamsWorkersAbsent",
}


@pytest.mark.requirement(
    SECTION,
    "alerts: late events, stalled commits, retry storm, unusual dead letters, open breaker, old outbox, missed "
    "schedule, retention, restarts, crash suspect, absent exporter or workers",
)
def test_what_must_wake_somebody_has_an_alert() -> None:
    assert {rule.name for rule in ALERTS} >= WANTED


@pytest.mark.requirement(SECTION, "each alert names a runbook")
@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.name)
def test_an_alert_says_what_it_means_and_where_to_look(rule: Rule) -> None:
    assert rule.labels["severity"] in {"page", "ticket"}
    assert rule.annotations.keys() == {"summary", "description", "runbook_url"}
    folder, _, page = rule.annotations["runbook_url"].rpartition("/")
    assert folder == RUNBOOKS
    text = (ROOT / "docs" / "runbooks" / page).read_text(encoding="utf-8")
    assert f"`{rule.name}`" in text, f"{page} does not name the alert"


@pytest.mark.requirement(SECTION, "a PromQL parser reads every query")
@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_a_rule_is_promql_on_metrics_that_exist_or_are_recorded(rule: Rule) -> None:
    recorded = {other.name for other in rules() if not other.is_alert}
    used = {found.metric for found in selectors(rule.expr)}
    assert {name for name in used if ":" in name} <= recorded


@pytest.mark.requirement(SECTION, "alerts have unit tests in promtool's format")
def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for path in unit_test_files():
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for case in test.get("alert_rule_test", ()):
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
    assert fires == {rule.name for rule in ALERTS}
    assert silent == fires


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", *map(str, RULE_FILES))
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


@needs_promtool
@pytest.mark.parametrize("path", unit_test_files(), ids=lambda path: path.stem)
def test_the_unit_tests_of_the_rules_pass(path: object) -> None:
    promtool("test", "rules", str(path))
