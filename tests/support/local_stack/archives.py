"""Unpacks archives, also with Python before 3.11.4, whose `tarfile` has no filters (PEP 706)."""

import tarfile
from pathlib import Path
from typing import Literal


def unpack(archive: tarfile.TarFile, folder: Path, kind: Literal["data", "tar"] = "data") -> None:
    """Write the files of an archive whose checksum was verified to a folder.

    Args:
        archive: The open archive.
        folder: Where its files go.
        kind: The filter, where Python has it. `tar` allows links that leave the folder's part of the archive.
    """
    if hasattr(tarfile, f"{kind}_filter"):
        archive.extractall(folder, filter=kind)  # noqa: S202 - filtered
    else:
        archive.extractall(folder)  # noqa: S202 - the checksum of the archive was verified
