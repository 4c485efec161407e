"""`streams topics`: what the catalogue has in force, and whether the cluster agrees."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

import typer

from schemas import Event
from streams.cli import pauses
from streams.cli.cluster import asking_kafka
from streams.cli.output import CommandError, JSONOption, print_json
from streams.delivery import Handler
from streams.durations import format_duration
from streams.operations.topics.apply import apply as apply_changes
from streams.operations.topics.apply import plan_topics
from streams.operations.topics.prune import Pruned, prune_tiers
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.settings import load_settings
from streams.topics import Topic

app = typer.Typer(
    add_completion=False, help="Topics: what is declared, and whether the cluster agrees.", no_args_is_help=True
)


class HandlerRow(TypedDict):
    """A handler in `topics list --json`; limits are texts such as ``30s``."""

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


@app.command("list")
def list_topics(*, as_json: JSONOption = False) -> None:
    """Show every topic with its handlers, limits and retry plans, as they are in force."""
    settings = load_settings()
    handlers = build_handlers(settings)
    rows = [topic_row(topic, handlers) for topic in build_catalogue(settings)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(
            f"{row['topic']}: {row['event']} by {row['key']}, pool {row['pool']}, {row['partitions']} partitions"
        )
        if not row["handlers"]:
            typer.echo("    no handler here: its events wait in the topic")
        for handler in row["handlers"]:
            limits = f"{handler['soft_time_limit']} soft, {handler['time_limit']} hard"
            typer.echo(f"    {handler['name']} ({handler['kind']}): {handler['retry']}; limits {limits}")


@app.command("pause")
def pause(name: str, *, as_json: JSONOption = False) -> None:
    """Begin nothing more of this topic's events, on any worker, until it is resumed; what runs goes on to its end."""
    settings = load_settings()
    pauses.pause(settings, "topic", build_catalogue(settings).topic(name).name, as_json=as_json)


@app.command("resume")
def resume(name: str, *, as_json: JSONOption = False) -> None:
    """Let a paused topic go on, with what has waited."""
    settings = load_settings()
    pauses.resume(settings, "topic", build_catalogue(settings).topic(name).name, as_json=as_json)


@app.command("apply")
def apply(
    *,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove retry tiers of former settings that are empty.")
    ] = False,
    as_json: JSONOption = False,
) -> None:
    """Make missing topics, add partitions, set configuration. Topics never shrink."""
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with asking_kafka():
        plan = plan_topics(settings, catalogue)
        apply_changes(settings, plan.changes)
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
    if as_json:
        print_json({"changes": rows, "problems": list(plan.problems), "kept": list(pruned.kept)})
    else:
        for row in rows:
            typer.echo(f"{row['change']} {row['topic']} ({row['partitions']} partitions)")
        for tier in pruned.kept:
            typer.echo(f"kept {tier}: records wait in it")
        if not rows:
            typer.echo("nothing to change")
    if plan.problems:
        raise CommandError(_first_of(plan.problems))


@app.command("check")
def check(*, as_json: JSONOption = False) -> None:
    """Fail where the cluster differs from the catalogue: topics, partitions, replication, configuration."""
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with asking_kafka():
        plan = plan_topics(settings, catalogue)
    found = [*(f"{change}; run `streams topics apply`" for change in plan.changes), *plan.problems]
    if as_json:
        print_json({"problems": found})
    elif len(found) > 1:
        typer.echo("\n".join(found))
    if found:
        raise CommandError(_first_of(found))
    if not as_json:
        typer.echo("the cluster has every topic as declared")


def topic_row(topic: Topic, handlers: Sequence[Handler[Event]]) -> TopicRow:
    """What `topics list` shows of one topic."""
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


def _first_of(problems: Sequence[str]) -> str:
    return problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
