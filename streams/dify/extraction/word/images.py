"""Collects the images of a Word file, within their limits."""

from streams.dify.extraction.bounds import MAX_IMAGE_BYTES, MAX_IMAGES, MAX_IMAGES_BYTES
from streams.dify.extraction.office.package import OfficePackage
from streams.dify.extraction.result import Image, image_of


class DocumentImages:
    """The images of a document, each once."""

    def __init__(self, package: OfficePackage, document_id: str, used: int = 0, used_bytes: int = 0) -> None:
        self._package = package
        self._document_id = document_id
        self._images: dict[str, Image | None] = {}
        """The images by the name of their part of the file; None: left out."""
        self._used = used
        self._bytes = used_bytes

    def within(self, package: OfficePackage) -> "DocumentImages":
        """Return the collector of a document inside of this one, which has what is left of the limits."""
        return DocumentImages(package, self._document_id, self._count(), self._bytes)

    def add(self, images: tuple[Image, ...]) -> None:
        """Add the images of a document inside of this one."""
        for image in images:
            self._images[f"{len(self._images)}/{image.file_id}"] = image
            self._bytes += len(image.content)

    def kept(self) -> tuple[Image, ...]:
        """Return the images in order."""
        return tuple({image.file_id: image for image in self._images.values() if image is not None}.values())

    def link(self, name: str) -> str:
        """Return the link of the image in a part; empty: it is no image that is kept, or there are too many of them."""
        if name not in self._images:
            image = self._read(name)
            self._images[name] = image
            self._bytes += len(image.content) if image is not None else 0
        image = self._images[name]
        return image.link if image is not None else ""

    def _read(self, name: str) -> Image | None:
        size = self._package.size(name)
        if size is None or size > MAX_IMAGE_BYTES or self._bytes + size > MAX_IMAGES_BYTES:
            return None
        if self._count() >= MAX_IMAGES:
            return None
        return image_of(self._document_id, self._package.read(name) or b"")

    def _count(self) -> int:
        return self._used + len(self._images)
