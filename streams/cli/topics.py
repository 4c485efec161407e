"""`streams topics`: lists, pauses and resumes topics, and compares the cluster with the catalogue."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import typer

from schemas import Event
from streams.cli import pauses
from streams.cli.cluster import kafka_errors_as_command_errors
from streams.cli.help import Command, Group, examples
from streams.cli.options import prints_rows
from streams.cli.output import CommandError, Format, JSONOption, Output, print_json, print_rows, print_text
from streams.cli.tables import Column
from streams.delivery import Handler
from streams.durations import format_duration
from streams.operations.topics.apply import apply_catalogue, plan_topics
from streams.operations.topics.prune import Pruned, prune_tiers
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.settings import load_settings
from streams.topics import Topic

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="List, pause, resume, create and check topics.",
    epilog=examples("streams topics list", "streams topics check"),
)

COLUMNS = (
    Column("topic", 1),
    Column("pool", 3),
    Column("partitions", 4),
    Column("handler", 2),
    Column("kind", 7),
    Column("retry", 5),
    Column("soft_time_limit", 8),
    Column("time_limit", 6),
    Column("event", 9),
    Column("key", 10),
)
CHANGES = (
    Column("topic", 1),
    Column("change", 2, styles={"created": "green", "altered": "yellow", "removed": "red"}),
    Column("partitions", 3),
    Column("config", 4, min_width=20),
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The name of a topic, such as document.deleted.")]


class HandlerRow(TypedDict):
    """A handler in `topics list --json`. Limits are strings such as ``30s``."""

    name: str
    kind: str
    retry: str
    soft_time_limit: str
    time_limit: str


class TopicRow(TypedDict):
    """A topic in `topics list --json`."""

    topic: str
    event: str
    key: str
    pool: str
    partitions: int | None
    handlers: list[HandlerRow]


@app.command("list", cls=Command, epilog=examples("streams topics list", "streams topics list --wide"))
@prints_rows
def list_topics(output: Output) -> None:
    """Show every topic with its handlers, time limits and retry policies in force."""
    settings = load_settings()
    handlers = build_handlers(settings)
    rows = [topic_row(topic, handlers) for topic in build_catalogue(settings)]
    print_rows(table_rows(rows) if output.is_table else rows, COLUMNS, output)


@app.command("pause", cls=Command, epilog=examples("streams topics pause document.deleted"))
def pause(name: NameArgument, *, as_json: JSONOption = False) -> None:
    """Pause a topic on all workers until it is resumed. Deliveries that are running continue to their end."""
    settings = load_settings()
    pauses.pause(settings, "topic", build_catalogue(settings).topic(name).name, as_json=as_json)


@app.command("resume", cls=Command, epilog=examples("streams topics resume document.deleted"))
def resume(name: NameArgument, *, as_json: JSONOption = False) -> None:
    """Resume a paused topic. Workers continue with the events that wait."""
    settings = load_settings()
    pauses.resume(settings, "topic", build_catalogue(settings).topic(name).name, as_json=as_json)


@app.command("apply", cls=Command, epilog=examples("streams topics apply", "streams topics apply --prune"))
@prints_rows
def apply(
    output: Output,
    *,
    prune: Annotated[bool, typer.Option("--prune", help="Delete empty retry topics of earlier settings.")] = False,
) -> None:
    """Create missing topics, add partitions and set configurations. Topics never shrink."""
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with kafka_errors_as_command_errors():
        plan = apply_catalogue(settings, catalogue)
        pruned = prune_tiers(settings, catalogue) if prune else Pruned((), ())
    rows: list[dict[str, object]] = [
        {
            "topic": change.spec.name,
            "change": "created" if change.create else "altered",
            "partitions": change.spec.partitions,
            "config": dict(change.spec.config if change.create else change.config),
        }
        for change in plan.changes
    ]
    rows += [{"topic": tier, "change": "removed", "partitions": 0, "config": {}} for tier in pruned.removed]
    if output.format is Format.JSON:
        print_json({"changes": rows, "problems": list(plan.problems), "kept": list(pruned.kept)})
    else:
        print_rows(rows, CHANGES, output, empty="nothing to change")
    if output.is_table:
        for tier in pruned.kept:
            print_text(f"kept {tier}: records wait in it, or its lag cannot be read")
    if plan.problems:
        raise CommandError(_summary(plan.problems))


@app.command("check", cls=Command, epilog=examples("streams topics check"))
def check(*, as_json: JSONOption = False) -> None:
    """Compare topics, partitions, replication and configuration with the catalogue, and fail if they differ."""
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with kafka_errors_as_command_errors():
        plan = plan_topics(settings, catalogue)
    found = [*(f"{change}; run `streams topics apply`" for change in plan.changes), *plan.problems]
    if as_json:
        print_json({"problems": found})
    elif len(found) > 1:
        for problem in found:
            print_text(problem)
    if found:
        raise CommandError(_summary(found))
    if not as_json:
        print_text("the cluster has every topic as declared")


def topic_row(topic: Topic, handlers: Sequence[Handler[Event]]) -> TopicRow:
    """Return one topic for `topics list`."""
    return TopicRow(
        topic=topic.name,
        event=topic.event.__name__,
        key=topic.key,
        pool=topic.pool,
        partitions=topic.partitions,
        handlers=[
            HandlerRow(
                name=handler.name,
                kind=handler.kind,
                retry=str(handler.retry),
                soft_time_limit=format_duration(handler.soft_time_limit),
                time_limit=format_duration(handler.time_limit),
            )
            for handler in handlers
            if handler.event is topic.event
        ],
    )


def table_rows(topics: Sequence[TopicRow]) -> list[dict[str, object]]:
    """Return one row per handler of a topic, and one for a topic without a handler."""
    rows: list[dict[str, object]] = []
    for topic in topics:
        of_topic: dict[str, object] = {name: value for name, value in topic.items() if name != "handlers"}
        rows += [{**of_topic, **handler, "handler": handler["name"]} for handler in topic["handlers"]] or [of_topic]
    return rows


def _summary(problems: Sequence[str]) -> str:
    return problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
