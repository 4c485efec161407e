"""The result of an extraction: the parts of a file's text, and the images that the text shows."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
_LINK = re.compile(r"!\[image\]\(/files/[0-9a-f-]{36}/file-preview\)")
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
class Part:
    """A part of a file that the split does not cross: a page, a row, a section, a slide."""

    text: str
    place: Mapping[str, str | int] = field(default_factory=dict)
    """Where the part is in its file, by the keys ``page``, ``slide``, ``sheet``, ``row``, ``headings`` and so on."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """The parts of a file in order, and its images in order and without duplicates."""

    parts: tuple[Part, ...]
    images: tuple[Image, ...] = ()
    warnings: tuple[str, ...] = ()
    """What of the file is not in the text, and why: one line each, without text of the file."""

    @property
    def text(self) -> str:
        """The text of all parts, with a blank line between two of them."""
        return joined_text(self.parts)


def joined_text(parts: Iterable[Part]) -> str:
    """Return the text of these parts, with a blank line between two of them."""
    return "\n\n".join(part.text for part in parts)


def with_files_url(found: Extracted, files_url: str) -> Extracted:
    """Return an extraction whose links to its own images begin with an address. Other links stay."""
    if not files_url or not found.images:
        return found
    links = {image.link: image.link.replace("](/files/", f"]({files_url}/files/") for image in found.images}
    parts = (replace(part, text=_LINK.sub(lambda link: links.get(link[0], link[0]), part.text)) for part in found.parts)
    return replace(found, parts=tuple(parts))


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
