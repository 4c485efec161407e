"""Ids given by their beginning: one that fits is meant; where several do, they are named and nothing is done."""

import re
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection

from streams.cli.output import WRONG_REQUEST, CommandError
from streams.operations.dead_letters.index import find_ids_starting_with, is_whole_id
from streams.operations.event_ids import event_id_range, find_event_ids

_HEXADECIMAL = re.compile("[0-9a-f]{1,32}")
CANDIDATES = 5
"""Ids that are named where several fit."""


def event_id_of(connection: Connection, given: str) -> UUID:
    """The event id that is given, whole or by its beginning.

    Raises:
        CommandError: It is no id, nothing has it, or several events have ids that begin so.
    """
    try:
        return UUID(given)
    except ValueError:
        pass
    digits = given.replace("-", "").lower()
    if not _HEXADECIMAL.fullmatch(digits):
        message = f"{given!r} is neither an event id nor the beginning of one"
        raise CommandError(message, WRONG_REQUEST)
    low, high = event_id_range(digits)
    found = find_event_ids(connection, low, high, CANDIDATES + 1)
    if not found:
        message = f"neither the ledger nor the outbox has an event whose id begins with {given}"
        raise CommandError(message)
    return UUID(only_one("events", given, [str(one) for one in found]))


def dead_letter_ids(connection: Connection, given: Sequence[str]) -> list[str]:
    """The ids of dead letters, each given whole or by its beginning. One that nothing has stays as it is.

    What looks like a whole id is one: ``…:0:1`` is never taken for the beginning of ``…:0:12``.

    Raises:
        CommandError: Several ids begin so.
    """
    return [_dead_letter_id(connection, one) for one in given]


def _dead_letter_id(connection: Connection, given: str) -> str:
    if is_whole_id(given):
        return given
    found = find_ids_starting_with(connection, given, CANDIDATES + 1)
    return only_one("dead letters", given, found) if found else given


def only_one(kind: str, given: str, found: Sequence[str]) -> str:
    """The only id found. Raises CommandError with one line that names those that are meant perhaps."""
    if len(found) == 1:
        return found[0]
    more = ", …" if len(found) > CANDIDATES else ""
    message = f"several {kind} have ids that begin with {given}: {', '.join(found[:CANDIDATES])}{more}"
    raise CommandError(message, WRONG_REQUEST)
