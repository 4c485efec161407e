"""Which documents the demo works on: a folder's, or the handbook that comes with the project."""

from dataclasses import dataclass
from pathlib import Path

from streams.dify.extraction import EXTENSIONS

HANDBOOK = Path(__file__).parents[3] / "examples" / "handbook"
MOST = 500
"""Documents that a demo takes at most, so that it stays one."""

_NAME_LENGTH = 255


class DocumentsError(Exception):
    """There is nothing to show with; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A document before it is one of the platform's."""

    name: str
    content: bytes

    @property
    def extension(self) -> str:
        """Without the dot, lower case."""
        return Path(self.name).suffix.lower().removeprefix(".")


LATE = SourceFile(
    "late-arrival.md",
    b"# A file that comes late\n\n"
    b"The row of this document is written before its file is in the storage, as it happens where an upload fails.\n\n"
    b"Its indexing is tried again, with longer and longer pauses, and in the end becomes a dead letter. Somebody "
    b"puts the file where it belongs and replays the dead letter: then the document is indexed like any other.\n",
)
"""The document whose file is absent at first."""


def read_documents(folder: Path | None) -> list[SourceFile]:
    """The files of a folder and its subfolders that can be indexed, by name; None: the handbook's.

    Raises DocumentsError where there are none, or too many.
    """
    root = HANDBOOK if folder is None else folder
    if not root.is_dir():
        message = f"there is no folder {root}"
        if folder is None:
            message = f"{message}: the handbook comes with the project's source, name a folder of documents instead"
        raise DocumentsError(message)
    found = sorted(path for path in root.rglob("*") if path.is_file() and _is_document(path.relative_to(root)))
    if not found:
        message = f"{root} holds no documents: the demo indexes files of type {', '.join(EXTENSIONS)}"
        raise DocumentsError(message)
    if len(found) > MOST:
        message = f"{root} holds {len(found)} documents: the demo takes {MOST} at most"
        raise DocumentsError(message)
    try:
        return [SourceFile(_name(path.relative_to(root)), path.read_bytes()) for path in found]
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
        raise DocumentsError(message) from error


def _is_document(path: Path) -> bool:
    """Hidden files and folders are left out: the demo's own, in STREAMS_LOCAL_DIR, among them."""
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.suffix.lower().removeprefix(".") in EXTENSIONS


def _name(path: Path) -> str:
    """What `documents.name` can hold: text, the end of it where it is too long."""
    return str(path).encode(errors="replace").decode()[-_NAME_LENGTH:]
