"""What a file is made of once it is read: its text, and the images that the text shows."""

from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid5

_IMAGES = UUID("7d0e5b52-3c1f-5b8e-9a44-6f0b8c2d1e37")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a document; the text shows it by its link."""

    file_id: str
    """The id of its upload file: the same image of the same document has the same on every run."""
    content: bytes
    extension: str
    """Without the dot, lower case."""
    mime_type: str

    @property
    def link(self) -> str:
        """Markdown, as the platform writes it."""
        return f"![image](/files/{self.file_id}/file-preview)"


@dataclass(frozen=True, slots=True)
class Extracted:
    """The text of a file, and its images in their order, each once."""

    text: str
    images: tuple[Image, ...] = ()


def image_of(document_id: str, content: bytes, extension: str, mime_type: str) -> Image:
    """An image that was found in a document; its id is made of the document's and its bytes."""
    file_id = uuid5(_IMAGES, f"{UUID(document_id)}/{sha256(content).hexdigest()}")
    return Image(str(file_id), content, extension.lower().removeprefix("."), mime_type)
