"""Reads PowerPoint (pptx): the texts, tables and notes of each slide."""

from collections.abc import Iterable, Iterator
from io import BytesIO

from pptx import Presentation
from pptx.shapes.base import BaseShape
from pptx.shapes.graphfrm import GraphicFrame
from pptx.shapes.group import GroupShape
from pptx.slide import Slide

from streams.dify.extraction.archive import open_archive
from streams.dify.extraction.bounds import within_characters


def slides_text(content: bytes) -> str:
    """Return the slides with blank lines between them, and each table row as one line. Raises ExtractionError."""
    with open_archive(content):
        deck = Presentation(BytesIO(content))
    slides = ("\n".join(filter(None, _lines(slide))) for slide in deck.slides)
    return "\n\n".join(within_characters(filter(None, slides)))


def _lines(slide: Slide) -> Iterator[str]:
    yield from _shape_lines(slide.shapes)
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if notes is not None:
        yield notes.text.strip()


def _shape_lines(shapes: Iterable[BaseShape]) -> Iterator[str]:
    for shape in shapes:
        if isinstance(shape, GroupShape):
            yield from _shape_lines(shape.shapes)
        elif isinstance(shape, GraphicFrame) and shape.has_table:
            for row in shape.table.rows:
                yield " | ".join(cell.text.strip() for cell in row.cells)
        elif shape.has_text_frame:
            yield shape.text_frame.text.strip()  # type: ignore[attr-defined]  # has_text_frame was checked
