"""The result of an extraction: the text of a file, and the images that the text shows."""

from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid5

_IMAGES = UUID("7d0e5b52-3c1f-5b8e-9a44-6f0b8c2d1e37")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a document. The text contains its link."""

    file_id: str
    """The id of its upload file. The same image of the same document has the same id in every run."""
    content: bytes
    extension: str
    """Lower case, without the dot."""
    mime_type: str

    @property
    def link(self) -> str:
        """The Markdown link, in the platform's form."""
        return f"![image](/files/{self.file_id}/file-preview)"


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a file and its images, in order and without duplicates."""

    text: str
    images: tuple[Image, ...] = ()


def image_of(document_id: str, content: bytes, extension: str, mime_type: str) -> Image:
    """Return an image of a document. Its id depends on the document's id and its bytes."""
    file_id = uuid5(_IMAGES, f"{UUID(document_id)}/{sha256(content).hexdigest()}")
    return Image(str(file_id), content, extension.lower().removeprefix("."), mime_type)
