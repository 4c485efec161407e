"""Ids that may be given by their beginning. The beginning must match one id; an error names the candidates."""

import re
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection

from streams.cli.output import WRONG_REQUEST, CommandError
from streams.operations.dead_letters.index import find_ids_starting_with, is_whole_id
from streams.operations.event_ids import event_id_range, find_event_ids

_HEXADECIMAL = re.compile("[0-9a-f]{1,32}")
_TIMED = 7
"""The version of UUIDs that begin with their time."""
_LATEST = 253_402_300_799_999
"""Milliseconds since the epoch: the end of the year 9999, the last of Python and of the ledger's days."""
MAX_CANDIDATES = 5
"""Ids that an error message names at most."""


def resolve_event_id(connection: Connection, given: str) -> UUID:
    """Resolve an event id that is given whole or by its beginning.

    Raises:
        CommandError: The text is not the beginning of an id, or it matches no event or several events.
    """
    try:
        found_whole = UUID(given)
    except ValueError:
        pass
    else:
        if found_whole.version == _TIMED and found_whole.int >> 80 > _LATEST:
            message = f"{given!r} is not an event id: its time is after the year 9999"
            raise CommandError(message, WRONG_REQUEST)
        return found_whole
    digits = given.replace("-", "").lower()
    if not _HEXADECIMAL.fullmatch(digits):
        message = f"{given!r} is neither an event id nor the beginning of one"
        raise CommandError(message, WRONG_REQUEST)
    low, high = event_id_range(digits)
    found = find_event_ids(connection, low, high, MAX_CANDIDATES + 1)
    if not found:
        message = f"neither the ledger nor the outbox has an event whose id begins with {given}"
        raise CommandError(message)
    return UUID(require_single("events", given, [str(one) for one in found]))


def resolve_dead_letter_ids(connection: Connection, given: Sequence[str]) -> list[str]:
    """Resolve ids of dead letters, each given whole or by its beginning. An unknown id is returned unchanged.

    A text with the form of a whole id is one: ``…:0:1`` is never the beginning of ``…:0:12``.

    Raises:
        CommandError: A beginning matches several ids.
    """
    return [_dead_letter_id(connection, one) for one in given]


def _dead_letter_id(connection: Connection, given: str) -> str:
    if is_whole_id(given):
        return given
    found = find_ids_starting_with(connection, given, MAX_CANDIDATES + 1)
    return require_single("dead letters", given, found) if found else given


def require_single(kind: str, given: str, found: Sequence[str]) -> str:
    """Return the only id found.

    Args:
        kind: What the ids belong to, for the message.
        given: The beginning that was given.
        found: The ids that match it.

    Raises:
        CommandError: Several ids match.
    """
    if len(found) == 1:
        return found[0]
    more = ", …" if len(found) > MAX_CANDIDATES else ""
    message = f"several {kind} have ids that begin with {given}: {', '.join(found[:MAX_CANDIDATES])}{more}"
    raise CommandError(message, WRONG_REQUEST)
