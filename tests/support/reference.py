"""`python -m tests.support.reference` writes the generated tables of the reference pages.

A table is between ``<!-- generated: NAME -->`` and ``<!-- end -->``. The other text is written by hand.
"""

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import typer
from prometheus_client.registry import Collector
from typer.core import TyperCommand, TyperGroup

from streams.agents.built_in import HANDLERS
from streams.cli import COMMANDS
from streams.durations import format_duration
from streams.observability.group_metrics import GroupCollector
from streams.observability.metrics import (
    REGISTRY,
    ComputeCollector,
    ConnectionCollector,
    LagCollector,
    SuspectCollector,
)
from streams.observability.metrics.build_info import BuildInfoCollector
from streams.observability.metrics.registry import PROCESS
from streams.observability.outbox_metrics import OutboxCollector, OutboxDepth
from streams.operations.monitoring.exporter import exporter_families
from streams.operations.monitoring.families import KnownNames
from streams.operations.monitoring.sample import DatabaseSample, KafkaSample
from streams.operations.monitoring.source import Reading
from streams.settings import Settings
from streams.topics import BUILT_IN, POOLS
from tests.support.pages import ROOT

FOLDER = ROOT / "docs" / "reference"
_SECTION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
METRIC_COLUMNS = ("metric", "type", "labels", "meaning")
_SUFFIXES = {"counter": "_total"}
"""What Prometheus appends to a metric's name, by its type."""


def topics() -> Iterator[Sequence[str]]:
    """Yield the built-in topics with their handlers."""
    yield ("topic", "event", "key", "pool", "partitions", "retention", "handlers")
    default = Settings.model_fields["partitions"].default
    for topic in BUILT_IN:
        handlers = ", ".join(f"`{handler.name}`" for handler in HANDLERS if handler.event is topic.event)
        yield (
            f"`{topic.name}`",
            f"`{topic.event.__name__}`",
            f"`{topic.key}`",
            topic.pool,
            str(topic.partitions or default),
            format_duration(topic.retention),
            handlers or "none yet",
        )


def pools() -> Iterator[Sequence[str]]:
    """Yield the pools with their limits."""
    yield ("pool", "priority", "concurrency", "prefetch")
    for pool in POOLS:
        yield (f"`{pool.name}`", str(pool.priority), str(pool.concurrency), str(pool.prefetch))


def commands() -> Iterator[Sequence[str]]:
    """Yield every command with the first paragraph of its help."""
    yield ("command", "what it does")
    for name in COMMANDS:
        command = typer.main.get_command(importlib.import_module(f"streams.cli.{name}").app)
        yield from _commands(f"streams {name}", command)


def _commands(name: str, command: object) -> Iterator[Sequence[str]]:
    if isinstance(command, TyperGroup):
        for part, inner in command.commands.items():
            yield from _commands(f"{name} {part}", inner)
    elif isinstance(command, TyperCommand):
        line, _, _ = (command.help or "").partition("\n\n")
        yield (f"`{name}`", _cell(line))


def metrics() -> Iterator[Sequence[str]]:
    """Yield the pipeline's own metrics, independent of what has run in this process."""
    outbox = OutboxCollector()
    outbox.depth = OutboxDepth(waiting=0, set_aside=0, oldest=None)
    of_workers: list[Collector] = [
        GroupCollector(list),
        outbox,
        BuildInfoCollector(),
        ComputeCollector(lambda: (0, 0.0, 0)),
        ConnectionCollector(list),
        SuspectCollector(dict),
    ]
    found = dict(_described(*of_workers, *REGISTRY._collector_to_names))
    yield METRIC_COLUMNS
    yield from (row for name, row in sorted(found.items()) if name.startswith("streams_"))


def lag() -> Iterator[Sequence[str]]:
    """Yield the metrics that have the names of kafka_exporter."""
    yield METRIC_COLUMNS
    yield from (row for _, row in _described(LagCollector(list)))


def process() -> Iterator[Sequence[str]]:
    """Yield the client library's metrics of the process and of its Python, as Linux has them."""
    yield METRIC_COLUMNS
    yield from (row for _, row in sorted(_described(*PROCESS)))


def exporter() -> Iterator[Sequence[str]]:
    """Yield the metrics of `streams exporter`, independent of what its servers have."""
    kafka = KafkaSample(at=0, brokers=0, partitions=[], lags=[], members={}, oldest={}, retention={})
    depth = OutboxDepth(waiting=0, set_aside=0, oldest=None)
    database = DatabaseSample(outbox=depth, dead_letters=[], schedules=[], paused=[], breakers=[])
    sources = Reading(kafka, None, 0.0, 0.0), Reading(database, None, 0.0, 0.0)
    families = [
        *exporter_families(*sources, KnownNames(frozenset(), frozenset(), frozenset()), 0.0),
        *BuildInfoCollector().collect(),
    ]
    yield METRIC_COLUMNS
    for metric in sorted(families, key=lambda metric: metric.name):
        labels = ", ".join(f"`{label}`" for label in getattr(metric, "_labelnames", ()))
        yield (f"`{metric.name}`", metric.type, labels, _cell(metric.documentation))


def _described(*collectors: Collector) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the name and row of each metric. The labels are those of the family or of its collector."""
    for collector in collectors:
        for metric in collector.collect():
            names = getattr(metric, "_labelnames", ()) or getattr(collector, "_labelnames", ())
            name = metric.name + _SUFFIXES.get(metric.type, "")
            labels = ", ".join(f"`{label}`" for label in names)
            yield name, (f"`{name}`", metric.type, labels, _cell(metric.documentation))


def _cell(text: str) -> str:
    """Format a text as one table cell: in one line, with escaped `|`, without the last full stop."""
    return " ".join(text.split()).replace("|", "\\|").removesuffix(".")


TABLES: dict[str, Callable[[], Iterator[Sequence[str]]]] = {
    "topics": topics,
    "pools": pools,
    "commands": commands,
    "metrics": metrics,
    "lag": lag,
    "process": process,
    "exporter": exporter,
}


def refreshed(text: str) -> str:
    """A page's text with its generated tables as the code has them now."""
    return _SECTION.sub(lambda found: f"{found[1]}{_table(TABLES[found[2]]())}{found[3]}", text)


def _table(rows: Iterable[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [f"| {' | '.join(row)} |\n" for row in (head, *rest)]
    lines.insert(1, f"{'|---' * len(head)}|\n")
    return "".join(lines)


def write(folder: Path = FOLDER) -> list[Path]:
    """Refresh every page of a folder; returns those that changed."""
    changed = []
    for path in sorted(folder.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = refreshed(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    for page in write():
        sys.stdout.write(f"{page.relative_to(ROOT)}\n")
