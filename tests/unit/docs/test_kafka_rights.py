"""The table of rights in Kafka on the page about threats is what `streams acls` prints."""

import re

from streams.operations.topics.acls import AclRule, Kind, Role, rules_of
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings
from streams.topics import Catalogue
from tests.support.pages import page

PRINCIPALS = {
    "a producer (EventProducer)": Role.PRODUCER,
    "a service that uses the outbox": None,
    "a relay in a process of its own (`streams relay`)": Role.RELAY,
    "workers": Role.WORKER,
    "operators (`streams dlq`, `streams lag`)": Role.OPERATOR,
    "`streams exporter`": Role.EXPORTER,
    "deployment (`streams topics apply`)": Role.DEPLOYMENT,
}
Rights = dict[Role | None, dict[str, set[str]]]


def test_the_table_is_what_the_command_prints() -> None:
    settings = Settings()
    catalogue = build_catalogue(settings)
    printed: Rights = {None: {}}
    for role in Role:
        printed[role] = rights(rules_of(role, settings, catalogue), catalogue)
    assert table() == printed


def table() -> Rights:
    """Return the operations by principal and resource."""
    section = page("docs/explanation/threat-model.md").text.partition("## Rights in Kafka")[2].partition("\n## ")[0]
    found: Rights = {}
    principal = ""
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or cells[0] == "principal" or set(cells[0]) == {"-"}:
            continue
        principal = cells[0] or principal
        row = found.setdefault(PRINCIPALS[principal], {})
        if operations := set(re.findall(r"\b[A-Z_]{4,}\b", cells[2])):
            row[cells[1].removeprefix("its ")] = operations
    return found


def rights(rules: list[AclRule], catalogue: Catalogue) -> dict[str, set[str]]:
    """Return the operations by resource, as the page names them. A rule with other operations than its like fails."""
    found: dict[str, set[str]] = {}
    for rule in rules:
        operations = found.setdefault(named(rule, catalogue), {*rule.operations})
        assert operations == {*rule.operations}
    if "CREATE" in found.get("event topics", ()):
        kinds = [found.pop(name) for name in [*found] if "groups" not in name]
        assert all(kind == kinds[0] for kind in kinds)
        found["all these topics"] = kinds[0]
    return found


def named(rule: AclRule, catalogue: Catalogue) -> str:
    if rule.kind is Kind.GROUP:
        assert (rule.name, rule.prefixed) == ("streams.", True)
        return "groups `<application>.*`"
    if rule.prefixed:
        assert re.fullmatch(r"streams\.(high|default|low)\.retry\.", rule.name)
        return "retry topics, `<application>.<pool>.retry.*`"
    events = {topic.name for topic in catalogue}
    return "event topics" if rule.name in events else "each DLQ, `<topic>.<application>.dlq`"
