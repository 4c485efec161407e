"""`streams publish`: publishes events directly to Kafka."""

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated

import typer
from pydantic import ValidationError

from schemas import Event
from schemas.sensitivity import marks_of
from streams.cli.help import Command, examples
from streams.cli.output import FAILED, WRONG_REQUEST, CommandError, JSONOption, print_json, print_text
from streams.codec import build_codec
from streams.observability.redaction import Redactor
from streams.publishing import BadEventError, EventProducer, PublishError
from streams.settings import load_settings
from streams.topics import Topic, load_catalogue

app = typer.Typer(add_completion=False)

STANDARD_INPUT = "-"


@app.command(
    cls=Command,
    epilog=examples(
        """streams publish tenant.created '{"tenant_id": "t-1"}'""",
        "streams publish tenant.created -",
    ),
)
def publish(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The topic of the event, such as document.deleted.")],
    fields: Annotated[
        str,
        typer.Argument(metavar="JSON", help="The fields of the event; - reads one JSON object per line from stdin."),
    ] = "{}",
    *,
    expires_at: Annotated[
        datetime | None,
        typer.Option(
            "--expires-at",
            metavar="TIME",
            parser=datetime.fromisoformat,
            help="The time after which no attempt starts, with its offset: 2027-01-31T12:00:00+00:00.",
        ),
    ] = None,
    as_json: JSONOption = False,
) -> None:
    """Publish events and wait until Kafka has acknowledged them.

    event_id and occurred_at are generated if they are not given. With - the command stops at the first invalid line.
    """
    settings = load_settings()
    catalogue = load_catalogue(settings)
    topic = catalogue.topic(event)
    single = None if fields == STANDARD_INPUT else _event(topic, fields)
    with EventProducer(settings, build_codec(settings, catalogue), timeout=settings.kafka_request_timeout) as producer:
        if single is None:
            _publish_lines(producer, topic, expires_at, as_json=as_json)
        else:
            _publish_one(producer, single, expires_at, as_json=as_json)


def _publish_one(producer: EventProducer, event: Event, expires_at: datetime | None, *, as_json: bool) -> None:
    try:
        producer.publish(event, expires_at=expires_at)
    except PublishError as error:
        raise CommandError(str(error), _code(error)) from error
    if as_json:
        print_json({"event_ids": [event.event_id]})
    else:
        print_text(str(event.event_id))


def _publish_lines(producer: EventProducer, topic: Topic, expires_at: datetime | None, *, as_json: bool) -> None:
    lines = EventLines(topic, sys.stdin)
    problem: str | None = None
    code = WRONG_REQUEST
    try:
        acknowledged = producer.publish_many(lines, expires_at=expires_at)
    except PublishError as error:
        acknowledged, code = error.acknowledged, _code(error)
        problem = f"line {lines.number}: {error}" if isinstance(error, BadEventError) else str(error)
    problem = problem or lines.problem
    if as_json:
        print_json({"acknowledged": acknowledged, **({"error": problem} if problem else {})})
    elif problem is None:
        print_text(f"{acknowledged} events acknowledged")
    if problem is not None:
        message = f"{problem}; {acknowledged} events were acknowledged"
        raise CommandError(message, code)


class EventLines:
    """Reads events from lines of JSON up to the first invalid line, which `problem` then describes."""

    def __init__(self, topic: Topic, lines: Iterable[str]) -> None:
        self._topic = topic
        self._lines = lines
        self.number = 0
        """The number of the last line that was read, from 1."""
        self.problem: str | None = None

    def __iter__(self) -> Iterator[Event]:
        try:
            yield from self._events()
        except UnicodeDecodeError:
            self.problem = f"line {self.number + 1} or one of the next: it is not UTF-8"

    def _events(self) -> Iterator[Event]:
        for line in self._lines:
            self.number += 1
            if not line.strip():
                continue
            try:
                event = _event(self._topic, line)
            except CommandError as error:
                self.problem = f"line {self.number}: {error}"
                return
            yield event


def _event(topic: Topic, fields: str) -> Event:
    """Parse the event in a JSON object. Raises CommandError with one line that names the field."""
    try:
        return topic.event.model_validate_json(fields)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        # An unknown field is reported first: a typo makes one field unknown and another one missing.
        first = min(wrong, key=lambda detail: detail["type"] != "extra_forbidden")
        place = ".".join(str(part) for part in first["loc"])
        reason = _redactor(topic, fields)(first["msg"])
        what = f"field {place!r}: {reason}" if place else reason
        known = ", ".join(topic.event.model_fields)
        hint = f" (it has: {known})" if first["type"] == "extra_forbidden" else ""
        message = f"{topic.name}: {what}{hint}"
        raise CommandError(message, WRONG_REQUEST) from error


def _redactor(topic: Topic, fields: str) -> Redactor:
    """Return a redactor for error messages: a validator of the event may repeat the value that it rejects."""
    try:
        given = json.loads(fields)
    except (ValueError, RecursionError):
        given = None
    return Redactor.of_fields(given, marks_of(topic.event))


def _code(error: PublishError) -> int:
    return WRONG_REQUEST if isinstance(error, BadEventError) else FAILED
