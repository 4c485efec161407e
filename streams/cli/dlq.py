"""`streams dlq`: dead letters, seen and brought back."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import Engine

from streams import headers
from streams.cli.db import ledger
from streams.cli.dead_letter_page import letter_page
from streams.cli.help import Command, Group, examples
from streams.cli.ids import dead_letter_ids
from streams.cli.options import prints_rows
from streams.cli.output import (
    WRONG_REQUEST,
    CommandError,
    Format,
    JSONOption,
    Output,
    print_json,
    print_lines,
    print_rows,
    say,
)
from streams.cli.tables import Column
from streams.codec import build_codec
from streams.headers import SPRING_OFFSET, SPRING_PARTITION, SPRING_TIMESTAMP
from streams.operations.dead_letters.index import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterMissingError,
    find_dead_letters,
    list_dead_letters,
)
from streams.operations.dead_letters.rebuild import rebuild as rebuild_index
from streams.operations.dead_letters.records import RecordUnreadableError, read_record, read_records
from streams.operations.dead_letters.replay import ReplayRefusedError
from streams.operations.dead_letters.replay import replay as replay_letter
from streams.operations.dead_letters.show import show_value
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings
from streams.topics import Catalogue
from streams.transport.kafka.records import Record

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="Dead letters: what failed for good, and its way back.",
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
    Column("error_message", 5, least=20),
    Column("attempts", 6),
    Column("first_failed_at", 10),
    Column("died_at", 2),
)
OUTCOMES = (
    Column("id", 1),
    Column("event_id", 6),
    Column("handler", 3),
    Column("topic", 5),
    Column("replayed", 2, styles={"yes": "green", "no": "red"}),
    Column("error", 4, least=20),
)
_BIG_ENDIAN = {SPRING_PARTITION, SPRING_OFFSET, SPRING_TIMESTAMP}

LetterArgument = Annotated[str, typer.Argument(metavar="ID", help="As `dlq list` shows it, or its beginning.")]
TopicOption = Annotated[str | None, typer.Option("--topic", help="Only events of this topic.")]
HandlerOption = Annotated[str | None, typer.Option("--handler", help="Only this handler's.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Only those that died for this reason.")]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one dead letter's replay; `error` says why it was refused."""

    id: str
    event_id: UUID | None
    handler: str | None
    topic: str | None
    replayed: bool
    error: str | None = None


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
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")] = None,
    event: Annotated[UUID | None, typer.Option("--event", help="Only those of this event id.")] = None,
    replayed: Annotated[bool, typer.Option("--replayed", help="Those replayed, instead of those not.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest first.")] = 50,
) -> None:
    """Dead letters that were not replayed yet, the newest first."""
    settings = load_settings()
    wanted = DeadLetterFilter(
        topic=_topic(build_catalogue(settings), topic),
        handler=handler,
        reason=reason,
        tenant_id=tenant,
        event_id=event,
        replayed=replayed,
    )
    with ledger(settings) as engine, engine.connect() as connection:
        letters = list_dead_letters(connection, wanted, limit)
    print_rows([_listed(letter) for letter in letters], COLUMNS, output, empty="no dead letters")


@app.command(
    "show",
    cls=Command,
    epilog=examples(
        "streams dlq show document.deleted.streams.dlq:0:42", "streams dlq show document.deleted --output json"
    ),
)
@prints_rows
def show(
    output: Output,
    letter_id: LetterArgument,
) -> None:
    """One dead letter with its record as it is on Kafka: key, value, headers, and the event where it can be read."""
    settings = load_settings()
    with ledger(settings) as engine:
        (letter,) = _find(engine, [letter_id])
    try:
        record = read_record(settings, letter)
    except RecordUnreadableError as error:
        raise CommandError(str(error)) from error
    shown = {**asdict(letter), **_content(settings, letter, record)}
    if output.is_table:
        print_lines(letter_page(shown, output.screen), output.screen)
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
        list[str] | None, typer.Argument(metavar="ID", help="As `dlq list` shows them, or their beginnings.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that the filters leave, instead of IDs.")] = False,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    handler: HandlerOption = None,
) -> None:
    """Send dead letters to the handler they died in, with all attempts anew; an unreadable one to its topic."""
    if everything == bool(ids) or (ids and (reason or topic or handler)):
        message = "name dead letters by their IDs, or take --all with --reason, --topic or --handler"
        raise CommandError(message, WRONG_REQUEST)
    settings = load_settings()
    catalogue = build_catalogue(settings)
    with ledger(settings) as engine:
        if ids:
            letters = _find(engine, ids)
        else:
            wanted = DeadLetterFilter(topic=_topic(catalogue, topic), handler=handler, reason=reason)
            with engine.connect() as connection:
                letters = list_dead_letters(connection, wanted)
        try:
            outcomes = list(_replay_each(engine, settings, catalogue, letters))
        except RecordUnreadableError as error:
            raise CommandError(str(error)) from error
    print_rows(
        [asdict(outcome) for outcome in outcomes],
        OUTCOMES,
        output,
        empty="no dead letters",
        fields=list(Outcome.__dataclass_fields__),
    )
    refused = [outcome for outcome in outcomes if not outcome.replayed]
    if refused:
        more = f" (and {len(refused) - 1} more were refused)" if len(refused) > 1 else ""
        message = f"{refused[0].error}{more}"
        raise CommandError(message)


@app.command("rebuild", cls=Command, epilog=examples("streams dlq rebuild"))
def rebuild(*, as_json: JSONOption = False) -> None:
    """Make the index of dead letters anew from the DLQ topics; what it knows already stays as it is."""
    settings = load_settings()
    with ledger(settings) as engine:
        try:
            with engine.begin() as connection:
                catalogue = build_catalogue(settings)
                added = rebuild_index(connection, settings, catalogue, build_codec(settings, catalogue))
        except RecordUnreadableError as error:
            raise CommandError(str(error)) from error
    if as_json:
        print_json({"added": added})
    else:
        say(f"{added} dead letters were added to the index")


def _replay_each(
    engine: Engine, settings: Settings, catalogue: Catalogue, letters: Sequence[DeadLetter]
) -> Iterator[Outcome]:
    for letter, record in read_records(settings, letters):
        if record is None:
            gone = f"{letter.id} is no longer on Kafka: its topic's retention has passed"
            yield Outcome(letter.id, letter.event_id, letter.handler, None, replayed=False, error=gone)
            continue
        try:
            with engine.begin() as connection:
                done = replay_letter(connection, catalogue, letter, record)
        except ReplayRefusedError as error:
            yield Outcome(letter.id, letter.event_id, letter.handler, None, replayed=False, error=str(error))
        else:
            yield Outcome(done.id, done.event_id, done.handler, done.topic, replayed=True)


def _find(engine: Engine, ids: Sequence[str]) -> list[DeadLetter]:
    try:
        with engine.connect() as connection:
            return find_dead_letters(connection, dead_letter_ids(connection, ids))
    except DeadLetterMissingError as error:
        raise CommandError(str(error)) from error


def _topic(catalogue: Catalogue, name: str | None) -> str | None:
    return None if name is None else catalogue.topic(name).name


def _listed(letter: DeadLetter) -> dict[str, object]:
    fields = asdict(letter)
    return {name: fields[name] for name in LIST_FIELDS}


def _content(settings: Settings, letter: DeadLetter, record: Record) -> dict[str, object]:
    """The record for JSON, its marked fields masked; bytes that are no text are given as ``base64:…``."""
    codec = build_codec(settings, build_catalogue(settings))
    shown = show_value(codec, letter.topic, record.value)
    return {
        "key": _text(record.key),
        "value": shown.value,
        "event": shown.event,
        "unreadable": shown.unreadable,
        "protection": headers.last_text(record.headers, headers.DLQ_PROTECTION),
        "headers": [[name, _header(name, value)] for name, value in record.headers],
    }


def _header(name: str, value: bytes) -> object:
    return int.from_bytes(value, "big", signed=True) if name in _BIG_ENDIAN else _text(value)


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"base64:{base64.b64encode(value).decode()}"
