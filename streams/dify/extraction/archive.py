"""Formats that are zip archives inside: what is let in, before a library unpacks any of it."""

import zipfile
from io import BytesIO

from streams.dify.errors import ExtractionError

MOST_UNPACKED = 256 * 1024 * 1024
"""Bytes that all files of an archive may unpack to together."""
MOST_FILES = 10_000
_ENCRYPTED = 0x1
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""What an Office file begins with that is encrypted, or of a version before 2007."""


def open_archive(content: bytes) -> zipfile.ZipFile:
    """The archive, its declared sizes checked; reading gives no more of a file than it declares.

    Raises ExtractionError where it is none, is encrypted, or would unpack to more than is let in.
    """
    if content.startswith(_OLE):
        message = "the file is encrypted, or an Office file from before 2007: save it anew without a password"
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
    if unpacked > MOST_UNPACKED or len(entries) > MOST_FILES:
        message = (
            f"the file unpacks to {unpacked >> 20} MiB in {len(entries)} files; "
            f"{MOST_UNPACKED >> 20} MiB in {MOST_FILES} files are let in"
        )
        raise ExtractionError(message)
    return archive
