"""Decides how reading continues where the log has no record at the position. No I/O.

This happens when retention has deleted the record, when the topic was deleted and created again, when an election made
the log shorter, or when a cluster was restored.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reset:
    """How the reading of a partition continues."""

    offset: int
    """The next offset to read."""
    lost: int = 0
    """How many offsets retention has deleted before they were read."""
    begins_again: bool = False
    """True if offsets start over: they name other records now, so a new assignment begins."""


def reset_of(position: int, first: int, end: int) -> Reset:
    """Return how reading continues.

    A log that ends before the position is read from its first offset. It may be a new log, and repeated work is
    recognised by the ledger, while skipped work is lost.

    Args:
        position: The next offset that was to be read.
        first: The first offset of the log.
        end: The offset of the next record of the log.
    """
    if position > end:
        return Reset(first, begins_again=True)
    if position < first:
        return Reset(first, lost=first - position)
    return Reset(position)
