"""`streams dlq`: lists, shows and replays dead letters."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import Engine

from streams import headers
from streams.cli.db import open_ledger
from streams.cli.dead_letter_page import dead_letter_page
from streams.cli.help import Command, Group, examples
from streams.cli.ids import resolve_dead_letter_ids
from streams.cli.operator import operator_note
from streams.cli.options import MAX_ROWS, prints_rows
from streams.cli.output import (
    WRONG_REQUEST,
    CommandError,
    Format,
    JSONOption,
    Output,
    print_json,
    print_lines,
    print_rows,
    print_text,
)
from streams.cli.tables import Column
from streams.codec import build_codec
from streams.observability.tracing import trace_id_of
from streams.operations.dead_letters.batch_replay import ReplayResult, replay_each
from streams.operations.dead_letters.index import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterMissingError,
    find_dead_letters,
    list_dead_letters,
)
from streams.operations.dead_letters.rebuild import rebuild as rebuild_index
from streams.operations.dead_letters.records import NoBrokerError, RecordUnreadableError, read_record
from streams.operations.dead_letters.show import header_value, readable, show_value
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings
from streams.topics import Catalogue
from streams.transport.kafka.records import Record

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="List, show and replay dead letters: the deliveries that failed for good.",
    epilog=examples("streams dlq list", "streams dlq show document.deleted.streams.dlq:0:42"),
)

LIST_FIELDS = (
    "id",
    "topic",
    "partition",
    "offset",
    "event_id",
    "handler",
    "reason",
    "error_type",
    "error_message",
    "attempts",
    "first_failed_at",
    "died_at",
)
COLUMNS = (
    Column("id", 1),
    Column("topic", 9),
    Column("partition", 11),
    Column("offset", 12),
    Column("event_id", 7),
    Column("handler", 4),
    Column("reason", 3, styles={"exhausted": "yellow", "permanent": "red", "crashed": "red"}),
    Column("error_type", 8),
    Column("error_message", 5, min_width=20),
    Column("attempts", 6),
    Column("first_failed_at", 10),
    Column("died_at", 2),
)
REPLAY_COLUMNS = (
    Column("id", 1),
    Column("event_id", 6),
    Column("handler", 3),
    Column("topic", 5),
    Column("replayed", 2, styles={"yes": "green", "no": "red"}),
    Column("error", 4, min_width=20),
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The dead letter's id, or the beginning of it.")]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Select only events of this topic.")]
HandlerOption = Annotated[str | None, typer.Option("--handler", help="Select only dead letters of this handler.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Select only dead letters with this reason.")]


@app.command(
    "list",
    cls=Command,
    epilog=examples("streams dlq list --reason exhausted", "streams dlq list --topic document.deleted --output json"),
)
@prints_rows
def list_command(  # noqa: PLR0913 - one option a filter
    output: Output,
    *,
    topic: TopicOption = None,
    handler: HandlerOption = None,
    reason: ReasonOption = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Show only dead letters of this tenant.")] = None,
    event: Annotated[UUID | None, typer.Option("--event", help="Show only dead letters of this event.")] = None,
    replayed: Annotated[bool, typer.Option("--replayed", help="Show the replayed dead letters instead.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_ROWS, help="Show at most this many rows.")] = 50,
) -> None:
    """List the dead letters that were not replayed yet, the newest first."""
    settings = load_settings()
    filters = DeadLetterFilter(
        topic=_topic(build_catalogue(settings), topic),
        handler=handler,
        reason=reason,
        tenant_id=tenant,
        event_id=event,
        replayed=replayed,
    )
    with open_ledger(settings) as engine, engine.connect() as connection:
        letters = list_dead_letters(connection, filters, limit)
    print_rows([_list_row(letter) for letter in letters], COLUMNS, output, empty="no dead letters")


@app.command(
    "show",
    cls=Command,
    epilog=examples(
        "streams dlq show document.deleted.streams.dlq:0:42", "streams dlq show document.deleted --output json"
    ),
)
@prints_rows
def show(output: Output, dead_letter_id: IdArgument) -> None:
    """Show one dead letter and its record on Kafka: key, value, headers, and the event if it can be decoded."""
    settings = load_settings()
    with open_ledger(settings) as engine:
        (letter,) = _find(engine, [dead_letter_id])
    try:
        record = read_record(settings, letter)
    except RecordUnreadableError as error:
        raise CommandError(str(error)) from error
    trace_id = trace_id_of(headers.last(record.headers, headers.TRACEPARENT))
    shown = {**asdict(letter), **_content(settings, letter, record), "trace_id": trace_id}
    shown["trace_url"] = settings.trace_link(trace_id)
    if output.is_table:
        print_lines(dead_letter_page(shown, output.screen), output.screen)
    elif output.format is Format.JSON:
        print_json(shown)
    else:
        print_rows([shown], (), output)


@app.command(
    "replay",
    cls=Command,
    epilog=examples(
        "streams dlq replay document.deleted.streams.dlq:0:42", "streams dlq replay --all --reason exhausted"
    ),
)
@prints_rows
def replay(  # noqa: PLR0913 - one option a filter
    output: Output,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="The dead letters' ids, or the beginnings of them.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Replay all that match the filters.")] = False,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    handler: HandlerOption = None,
) -> None:
    """Send dead letters to the handler that failed, with all attempts again.

    A dead letter that could not be decoded goes to its topic, and so to every handler.
    """
    if everything == bool(ids) or (ids and (reason or topic or handler)):
        message = "give the IDs of dead letters, or --all with --reason, --topic or --handler"
        raise CommandError(message, WRONG_REQUEST)
    settings = load_settings()
    with open_ledger(settings) as engine:
        if ids:
            letters = _find(engine, ids)
        else:
            filters = DeadLetterFilter(topic=_topic(build_catalogue(settings), topic), handler=handler, reason=reason)
            with engine.connect() as connection:
                letters = list_dead_letters(connection, filters)
        note = operator_note("dlq", "replay", *(ids or ["--all"]), reason=reason, topic=topic, handler=handler)
        results = _replay_each(engine, settings, letters, note, output)
    refused = [result for result in results if not result.replayed]
    if refused:
        more = f" (and {len(refused) - 1} more were not replayed)" if len(refused) > 1 else ""
        message = f"{refused[0].error}{more}"
        raise CommandError(message)


@app.command("rebuild", cls=Command, epilog=examples("streams dlq rebuild"))
def rebuild(*, as_json: JSONOption = False) -> None:
    """Rebuild the index of dead letters from the DLQ topics. Entries that agree with their record stay unchanged.

    So do the entries of a DLQ that cannot be read. The command names it, rebuilds the others, and fails.
    """
    settings = load_settings()
    with open_ledger(settings) as engine:
        try:
            with engine.begin() as connection:
                catalogue = build_catalogue(settings)
                rebuilt = rebuild_index(connection, settings, catalogue, build_codec(settings, catalogue))
        except RecordUnreadableError as error:
            raise CommandError(str(error)) from error
    if as_json:
        print_json(asdict(rebuilt))
    else:
        removed = f", {rebuilt.removed} without a record were removed" if rebuilt.removed else ""
        print_text(f"{rebuilt.added} dead letters were added to the index{removed}")
    if rebuilt.left_out:
        names, reasons = ", ".join(rebuilt.left_out), list(rebuilt.left_out.values())
        first = reasons[0] if len(reasons) == 1 else f"the first one: {reasons[0]}"
        message = f"left out, so that their rows are unchanged: {names}; {first}"
        raise CommandError(message)


def _replay_each(
    engine: Engine, settings: Settings, letters: Sequence[DeadLetter], by: str, output: Output
) -> list[ReplayResult]:
    """Replay dead letters and print the results, also if an error ends it: what was replayed stays replayed."""
    results: list[ReplayResult] = []
    try:
        for result in replay_each(engine, settings, build_catalogue(settings), letters, by=by):
            results.append(result)  # noqa: PERF402 - an error in between must leave the results before it
    except BaseException as error:
        if results:
            _print_replays(results, output)
        if isinstance(error, NoBrokerError):
            message = f"{len(letters) - len(results)} dead letters were not tried: {error}"
            raise CommandError(message) from error
        raise
    _print_replays(results, output)
    return results


def _print_replays(results: Sequence[ReplayResult], output: Output) -> None:
    print_rows(
        [asdict(result) for result in results],
        REPLAY_COLUMNS,
        output,
        empty="no dead letters",
        fields=list(ReplayResult.__dataclass_fields__),
    )


def _find(engine: Engine, ids: Sequence[str]) -> list[DeadLetter]:
    try:
        with engine.connect() as connection:
            return find_dead_letters(connection, resolve_dead_letter_ids(connection, ids))
    except DeadLetterMissingError as error:
        raise CommandError(str(error)) from error


def _topic(catalogue: Catalogue, name: str | None) -> str | None:
    return None if name is None else catalogue.topic(name).name


def _list_row(letter: DeadLetter) -> dict[str, object]:
    return {name: getattr(letter, name) for name in LIST_FIELDS}


def _content(settings: Settings, letter: DeadLetter, record: Record) -> dict[str, object]:
    """Return the record for JSON. Sensitive fields are masked. Bytes that are not UTF-8 become ``base64:…``."""
    codec = build_codec(settings, build_catalogue(settings))
    shown = show_value(codec, letter.topic, record.value)
    return {
        "key": readable(record.key),
        "value": shown.value,
        "event": shown.event,
        "unreadable": shown.unreadable,
        "protection": headers.last_text(record.headers, headers.DLQ_PROTECTION),
        "headers": [[name, header_value(name, value)] for name, value in record.headers],
    }
