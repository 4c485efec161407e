"""Where a command's output is shown: a terminal of some width, or a pipe."""

import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Screen:
    """What decides how much is shown."""

    terminal: bool
    """False: a pipe or a file, which gets every column and every value whole."""
    width: int
    """Cells in a line of the terminal."""
    now: datetime
    """What relative times count from."""
    wide: bool = False
    """Every column, whatever the terminal's width."""

    @property
    def is_whole(self) -> bool:
        """Whether every column and every value is shown whole."""
        return self.wide or not self.terminal


def standard_output(*, wide: bool = False) -> Screen:
    """The screen that standard output is."""
    return Screen(
        terminal=sys.stdout.isatty(), width=shutil.get_terminal_size().columns, now=datetime.now(tz=UTC), wide=wide
    )
