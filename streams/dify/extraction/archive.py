"""Opens formats that are zip archives, and checks their sizes before a library unpacks anything."""

import zipfile
from io import BytesIO

from streams.dify.errors import ExtractionError

MAX_UNPACKED = 256 * 1024 * 1024
"""The limit in bytes of all unpacked files together."""
MAX_FILES = 10_000
_ENCRYPTED = 0x1
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The first bytes of an Office file that is encrypted or older than 2007."""


def open_archive(content: bytes) -> zipfile.ZipFile:
    """Open an archive and check its declared sizes. Reading returns no more of a file than its declared size.

    Raises ExtractionError if it is not an archive, is encrypted, or its content exceeds the limits.
    """
    if content.startswith(_OLE):
        message = "the file is encrypted, or an Office file from before 2007: save it again without a password"
        raise ExtractionError(message)
    try:
        archive = zipfile.ZipFile(BytesIO(content))
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        message = f"the file is damaged or of another type: {error}"
        raise ExtractionError(message) from error
    entries = archive.infolist()
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        message = "the file is encrypted: save it without a password"
        raise ExtractionError(message)
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED or len(entries) > MAX_FILES:
        message = (
            f"the file unpacks to {unpacked >> 20} MiB in {len(entries)} files; "
            f"{MAX_UNPACKED >> 20} MiB in {MAX_FILES} files are allowed"
        )
        raise ExtractionError(message)
    return archive
