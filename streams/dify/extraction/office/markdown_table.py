"""Writes the tables of Word files and presentations as Markdown."""

from collections.abc import Iterable, Iterator, Sequence

MAX_REPEATED = 1000
"""Characters of a tall merged cell that each of its rows repeats. A longer text stands in the first row only."""


def markdown_rows(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the rows of a table, each as one line. The first one is the head."""
    for number, cells in enumerate(rows):
        escaped = (" ".join(text.split("\n")).replace("|", "\\|") for text in cells)
        yield f"| {' | '.join(escaped)} |"
        if number == 0:
            yield f"| {' | '.join(['---'] * len(cells))} |"


def repeated(text: str) -> str:
    """Return what the further rows of a tall merged cell show."""
    return text if len(text) <= MAX_REPEATED else ""
