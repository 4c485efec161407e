"""Selects the documents of the demo: the files of a folder, or the handbook of the project."""

from dataclasses import dataclass
from pathlib import Path

from streams.dify.extraction import EXTENSIONS

HANDBOOK = Path(__file__).parents[3] / "examples" / "handbook"
MAX_DOCUMENTS = 500
"""The largest number of documents of a demo."""

_NAME_LENGTH = 255


class DocumentsError(Exception):
    """There are no usable documents. The message is one line for the user."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file before it is uploaded to the platform."""

    name: str
    content: bytes

    @property
    def extension(self) -> str:
        """Return the extension in lower case, without the dot."""
        return Path(self.name).suffix.lower().removeprefix(".")


LATE_FILE = SourceFile(
    "late-arrival.md",
    b"# A file that comes late\n\n"
    b"The row of this document is written before its file is in the storage, as it happens where an upload fails.\n\n"
    b"Its indexing is tried again, with longer and longer pauses, and in the end becomes a dead letter. Somebody "
    b"puts the file where it belongs and replays the dead letter: then the document is indexed like any other.\n",
)
"""The document whose file is missing at first."""


def read_documents(folder: Path | None) -> list[SourceFile]:
    """Return the supported files of a folder and its subfolders, sorted by name; None: the handbook.

    Raises DocumentsError if there are none, or too many.
    """
    root = HANDBOOK if folder is None else folder
    if not root.is_dir():
        message = f"there is no folder {root}"
        if folder is None:
            message = f"{message}: the handbook is part of the project's source; give a folder of documents instead"
        raise DocumentsError(message)
    found = sorted(path for path in root.rglob("*") if path.is_file() and _is_document(path.relative_to(root)))
    if not found:
        message = f"{root} contains no documents: the demo indexes files of type {', '.join(EXTENSIONS)}"
        raise DocumentsError(message)
    if len(found) > MAX_DOCUMENTS:
        message = f"{root} contains {len(found)} documents: the demo accepts at most {MAX_DOCUMENTS}"
        raise DocumentsError(message)
    try:
        return [SourceFile(_name(path.relative_to(root)), path.read_bytes()) for path in found]
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
        raise DocumentsError(message) from error


def _is_document(path: Path) -> bool:
    """Return whether a path is a document. Hidden files and folders are skipped, also the demo's own folder."""
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.suffix.lower().removeprefix(".") in EXTENSIONS


def _name(path: Path) -> str:
    """Return a name that fits into `documents.name`: valid text, only its end if it is too long."""
    return str(path).encode(errors="replace").decode()[-_NAME_LENGTH:]
