"""Names the account that runs a command, for what the command notes in the database."""

import getpass
import os
import shlex
import socket

LONGEST_NOTE = 1000
"""Characters of a note. A command may have thousands of ids."""


def operator_note(*command: str, **options: str | None) -> str:
    """Return `account@host: streams COMMAND`, with the options that have a value.

    Args:
        command: The words of the command after `streams`.
        options: By name, without dashes.
    """
    given = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    return f"{_account()}@{socket.gethostname()}: {shlex.join(['streams', *command, *given])}"[:LONGEST_NOTE]


def _account() -> str:
    """Return the account's name; its number if it has no name, as in many containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return f"uid {os.getuid()}"
