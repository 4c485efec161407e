"""The screen that a command's output is shown on: a terminal with a width, or a pipe."""

import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Screen:
    """The properties that decide how much is shown."""

    is_terminal: bool
    """False for a pipe or a file, which gets every column and every value whole."""
    width: int
    """Width of the terminal in cells."""
    now: datetime
    """The time that relative times refer to."""
    wide: bool = False
    """Whether every column is shown, at any width of the terminal."""

    @property
    def shows_everything(self) -> bool:
        """Whether every column and every value is shown whole."""
        return self.wide or not self.is_terminal


def stdout_screen(*, wide: bool = False) -> Screen:
    """Describe standard output as a screen."""
    return Screen(
        is_terminal=sys.stdout.isatty(), width=shutil.get_terminal_size().columns, now=datetime.now(tz=UTC), wide=wide
    )
