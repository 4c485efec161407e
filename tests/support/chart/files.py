"""`python -m tests.support.chart.files` writes the chart's generated files.

The catalogue comes from the code, the schema of the settings from `Settings`, the rules and dashboards from `deploy`,
and the README from the comments in values.yaml. A test compares them.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from streams.agents.built_in import HANDLERS
from streams.operations.topics.plan import BROKERS_FOR_REPLICATION, TopicSpec, desired_topics
from streams.runtime.declarations import topics_to_read
from streams.settings import Settings
from streams.topics import BUILT_IN, USUAL_RETENTION, Catalogue
from tests.support.chart.readme import chart_readme
from tests.support.chart.values_schema import settings_elsewhere, values_schema
from tests.support.pages import ROOT

CHART = ROOT / "deploy" / "helm" / "event-streams"
COPIES = {
    "prometheus/alerts.yml": "rules",
    "prometheus/objectives.yml": "rules",
    "grafana/dashboards/*.json": "dashboards",
}
"""Patterns in `deploy`, with their folder among the chart's files: Helm reads no file outside of its chart."""
_BY_REPLICAS = "min.insync.replicas"
"""The template sets it, since it depends on the number of replicas."""


def catalogue_json() -> str:
    """Return the built-in topics, and the configuration of the three kinds of topics, as JSON."""
    settings = Settings.model_construct()
    catalogue = Catalogue(BUILT_IN, settings)
    specs = {spec.name: spec for spec in desired_topics(catalogue, settings, BROKERS_FOR_REPLICATION)}
    first = BUILT_IN[0]
    read = topics_to_read(catalogue, HANDLERS)
    event, tier = specs[first.name], specs[catalogue.tier(first.pool, 0.0)]
    content = {
        "config": {
            "event": _config(event, without="retention.ms"),
            "dlq": _config(specs[catalogue.dlq(first.name)]),
            "tier": _config(tier),
        },
        "retentionMs": _milliseconds(USUAL_RETENTION),
        "settings": dict(sorted(settings_elsewhere().items())),
        "topics": [
            {
                "name": topic.name,
                "pool": topic.pool,
                **({"partitions": topic.partitions} if topic.partitions else {}),
                "retentionMs": _milliseconds(topic.retention),
                **({} if topic.name in read else {"handled": False}),
            }
            for topic in BUILT_IN
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def generated() -> Mapping[Path, str]:
    """Return the content of each generated file of the chart."""
    copies = {
        CHART / "files" / folder / path.name: path.read_text(encoding="utf-8")
        for pattern, folder in COPIES.items()
        for path in sorted((ROOT / "deploy").glob(pattern))
    }
    return {
        CHART / "files" / "catalogue.json": catalogue_json(),
        CHART / "values.schema.json": values_schema(),
        CHART / "README.md": chart_readme((CHART / "values.yaml").read_text(encoding="utf-8")),
        **copies,
    }


def stale() -> list[Path]:
    """Return the files of the chart that differ from what would be generated, and those that nothing generates."""
    wanted = generated()
    found = [path for path in (CHART / "files").rglob("*") if path.is_file()]
    different = [
        path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    return sorted({*different, *(path for path in found if path not in wanted)})


def _config(spec: TopicSpec, *, without: str = "") -> dict[str, str]:
    return {name: value for name, value in sorted(spec.config.items()) if name not in {_BY_REPLICAS, without}}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def main() -> None:
    """Write the files, and remove those that nothing generates."""
    wanted = generated()
    for path in stale():
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()


if __name__ == "__main__":
    main()
