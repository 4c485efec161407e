"""Lays out the tables of a Word file as Markdown, with as many cells in each row as the grid has."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lxml import etree

from streams.dify.extraction.office.markdown_table import markdown_rows, repeated
from streams.dify.extraction.office.markup import attribute, child, name_of, unwrapped
from streams.dify.extraction.word.paragraph import SKIPPED

_SPARSE = 16
"""The number of cells of the grid per cell of the file, beyond which the grid is not laid out."""
_MAX_DIGITS = 6
_SMALL = 10_000
"""Cells of a grid that is laid out in any case."""


class _Cell(NamedTuple):
    span: int
    text: str
    merge: str
    """``restart`` begins a tall merged cell, ``continue`` continues it; empty: the cell is not merged."""


class _Row(NamedTuple):
    before: int
    """The columns of the grid before its first cell."""
    cells: list[_Cell]


def table_lines(table: etree._Element, cell_text: Callable[[etree._Element], str]) -> Iterator[str]:
    """Yield the rows of a table as Markdown. A table that cannot be laid out is read cell by cell."""
    rows = _rows(table, cell_text)
    grid = _grid(rows)
    if grid is None:
        for row in rows:
            yield from filter(None, (cell.text for cell in row.cells))
        return
    yield from markdown_rows(grid)


def nested_table_text(table: etree._Element, cell_text: Callable[[etree._Element], str]) -> str:
    """Return a table inside of a cell as one line: its cells with commas, its rows with semicolons."""
    rows = (filter(None, (cell.text for cell in row.cells)) for row in _rows(table, cell_text))
    return "; ".join(filter(None, (", ".join(row) for row in rows)))


def _rows(table: etree._Element, cell_text: Callable[[etree._Element], str]) -> list[_Row]:
    return [
        _Row(_number(child(row, "w:trPr", "w:gridBefore"), 0), [_cell(one, cell_text) for one in _inner(row, "w:tc")])
        for row in _inner(table, "w:tr")
        if child(row, "w:trPr", "w:del") is None
    ]


def _inner(container: etree._Element, wanted: str) -> Iterator[etree._Element]:
    """Return the rows of a table or the cells of a row, also those in content controls and changes."""
    inner = unwrapped(container, lambda name: name != wanted and name not in SKIPPED)
    return (element for element in inner if name_of(element.tag) == wanted)


def _cell(element: etree._Element, cell_text: Callable[[etree._Element], str]) -> _Cell:
    merged = child(element, "w:tcPr", "w:vMerge")
    merge = "" if merged is None else attribute(merged, "w:val") or "continue"
    return _Cell(_number(child(element, "w:tcPr", "w:gridSpan"), 1), cell_text(element), merge)


def _number(element: etree._Element | None, default: int) -> int:
    value = (attribute(element, "w:val") or "") if element is not None else ""
    return max(int(value), default) if value.isdecimal() and len(value) <= _MAX_DIGITS else default


def _grid(rows: list[_Row]) -> list[list[str]] | None:
    """Return the texts of the grid; None: it would be far larger than its cells."""
    width = max((row.before + sum(cell.span for cell in row.cells) for row in rows), default=0)
    cells = sum(len(row.cells) for row in rows)
    if not cells or width * len(rows) > max(_SMALL, _SPARSE * cells):
        return None
    above: dict[int, str] = {}
    grid = []
    for row in rows:
        texts = [""] * row.before
        for cell in row.cells:
            column, text = len(texts), cell.text
            if cell.merge == "restart":
                above[column] = repeated(text)
            elif cell.merge == "continue":
                text = above.get(column, text)
            else:
                above.pop(column, None)
            texts += [text, *[""] * (cell.span - 1)]
        grid.append(texts + [""] * (width - len(texts)))
    return grid
