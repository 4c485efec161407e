"""The result of an extraction: the text of a file, and the images that the text shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID, uuid5

IMAGE_TYPES: Mapping[str, str] = {
    "bmp": "image/bmp",
    "gif": "image/gif",
    "jpg": "image/jpeg",
    "png": "image/png",
    "tiff": "image/tiff",
    "webp": "image/webp",
}
"""The images that are kept: extension → MIME type. None of them contains a script or a link, as SVG may."""
_FIRST_BYTES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"BM", "bmp"),
)
_IMAGES = UUID("7d0e5b52-3c1f-5b8e-9a44-6f0b8c2d1e37")


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a document. The text contains its link."""

    file_id: str
    """The id of its upload file. The same image of the same document has the same id in every run."""
    content: bytes
    extension: str
    """A key of `IMAGE_TYPES`."""
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


def image_extension(content: bytes) -> str | None:
    """Return the extension of an image by its first bytes, whatever its file says; None: it is not of `IMAGE_TYPES`."""
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "webp"
    return next((extension for first, extension in _FIRST_BYTES if content.startswith(first)), None)


def image_of(document_id: str, content: bytes) -> Image | None:
    """Return an image of a document; None: the bytes are no image that is kept.

    Its id depends on the document's id and its bytes.
    """
    extension = image_extension(content)
    if extension is None:
        return None
    file_id = uuid5(_IMAGES, f"{UUID(document_id)}/{sha256(content).hexdigest()}")
    return Image(str(file_id), content, extension, IMAGE_TYPES[extension])
