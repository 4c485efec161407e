"""Stores a password of the local stack in a file that only its owner can read."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

_BYTES = 16


def stored_password(file: Path) -> str:
    """Return the password in the file. A missing file is created with a new one: 32 hexadecimal digits.

    Raises OSError if the file cannot be read or created.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
    # Two commands may come here together: the link of the first one decides.
    with suppress(FileExistsError):
        if not file.exists():
            fresh.touch(mode=0o600, exist_ok=True)
            fresh.write_text(secrets.token_hex(_BYTES))
            os.link(fresh, file)
    fresh.unlink(missing_ok=True)
    return file.read_text().strip()
