"""Reads Word (docx): paragraphs, links, images and tables in order, in the platform's form."""

from collections.abc import Iterator
from io import BytesIO

from docx import Document
from docx.document import Document as WordDocument
from docx.opc.part import Part as PackagePart
from docx.oxml.ns import qn
from docx.table import Table, _Cell
from docx.text.hyperlink import Hyperlink
from docx.text.paragraph import Paragraph
from docx.text.run import Run

from streams.dify.extraction.archive import open_archive
from streams.dify.extraction.bounds import MAX_IMAGE_BYTES, MAX_IMAGES, MAX_IMAGES_BYTES, within_characters
from streams.dify.extraction.result import Extracted, Image, Part, image_of

_BLIP, _EMBED = qn("a:blip"), qn("r:embed")
_VML_IMAGE = "{urn:schemas-microsoft-com:vml}imagedata"
_VML_ID = qn("r:id")


def word_content(content: bytes, document_id: str) -> Extracted:
    """Return one line per paragraph, tables as Markdown, images as links to upload files. Raises ExtractionError."""
    with open_archive(content):
        return _DocumentReader(Document(BytesIO(content)), document_id).extracted()


class _DocumentReader:
    """Reads a document once and collects its images."""

    def __init__(self, document: WordDocument, document_id: str) -> None:
        self._document = document
        self._document_id = document_id
        self._images: dict[str, Image | None] = {}
        """The images by the name of their part of the file; None: left out."""
        self._image_bytes = 0

    def extracted(self) -> Extracted:
        text = "\n".join(within_characters(self._blocks(self._document)))
        kept = {image.file_id: image for image in self._images.values() if image is not None}
        return Extracted((Part(text),), tuple(kept.values()))

    def _blocks(self, container: WordDocument | _Cell) -> Iterator[str]:
        for block in container.iter_inner_content():
            if isinstance(block, Table):
                yield from self._table(block)
            else:
                yield self._paragraph(block)

    def _paragraph(self, paragraph: Paragraph) -> str:
        return "".join(self._inline(part) for part in paragraph.iter_inner_content()).strip()

    def _inline(self, part: Run | Hyperlink) -> str:
        if isinstance(part, Hyperlink):
            text = "".join(self._inline(run) for run in part.runs)
            return f"[{text}]({part.url})" if part.url and text.strip() else text
        return part.text + "".join(self._pictures(part))

    def _pictures(self, run: Run) -> Iterator[str]:
        for element in run.element.iter(_BLIP, _VML_IMAGE):
            related = element.get(_EMBED) or element.get(_VML_ID)
            # A linked picture is not part of the file. A URL in a document is never fetched.
            part = self._document.part.related_parts.get(str(related))
            image = self._image(part) if part is not None else None
            if image is not None:
                yield image.link

    def _image(self, part: PackagePart) -> Image | None:
        """Return the image of a part; None: it is no image that is kept, or the document has too much of them."""
        name = str(part.partname)
        if name not in self._images:
            size = len(part.blob)
            fits = size <= MAX_IMAGE_BYTES and self._image_bytes + size <= MAX_IMAGES_BYTES
            fits = fits and len(self._images) < MAX_IMAGES
            self._images[name] = image_of(self._document_id, part.blob) if fits else None
            self._image_bytes += size if self._images[name] is not None else 0
        return self._images[name]

    def _table(self, table: Table) -> Iterator[str]:
        for number, row in enumerate(table.rows):
            cells = [self._cell(cell) for cell in dict.fromkeys(row.cells)]
            yield f"| {' | '.join(cells)} |"
            if number == 0:
                yield f"| {' | '.join(['---'] * len(cells))} |"

    def _cell(self, cell: _Cell) -> str:
        return " ".join(line for line in self._blocks(cell) if line).replace("\n", " ")
