"""The output of `executions show`: fields, errors, and a line for each attempt."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.text import Text

from streams.cli.details import INDENT, Block, Fields, detail_lines, value_lines
from streams.cli.screen import Screen
from streams.cli.tables import Column, build_table

STATUS = {"success": "green", "failure": "red", "retry": "yellow", "started": "cyan"}
OUTCOME = {**STATUS, "dead": "red", "cancelled": "red", "deferred": "yellow"}
ATTEMPTS = (
    Column("attempt", 1),
    Column("outcome", 2, styles=OUTCOME),
    Column("started_at", 3),
    Column("completed_at", 4),
    Column("worker", 5),
)


def execution_page(found: Sequence[Mapping[str, object]], screen: Screen) -> list[Text]:
    """Return the lines of executions: for each its fields, its error, and its attempts."""
    lines: list[Text] = []
    for execution in found:
        hidden = {"error", "history"} if execution.get("cancelled_by") else {"error", "history", "cancelled_by"}
        plain = [(name, value) for name, value in execution.items() if name not in hidden]
        sections: list[Block | Fields] = [Fields(plain, styles=STATUS)]
        if execution["error"]:
            sections.append(Block("error", str(execution["error"]), wraps=True))
        lines += [Text(), Text()] if lines else []
        lines += [*detail_lines(sections, screen), Text(), *attempt_lines(execution["history"], screen)]
    return lines


def attempt_lines(history: object, screen: Screen) -> list[Text]:
    """Return a line for each attempt, with its error below it."""
    attempts = [_with_times(one) for one in history if isinstance(one, dict)] if isinstance(history, list) else []
    if not attempts:
        return [Text("no attempt has ended yet")]
    shown = build_table(ATTEMPTS, attempts, screen)
    lines = [shown.heading]
    for attempt, line in zip(attempts, shown.lines, strict=True):
        lines.append(line)
        if error := attempt.get("error"):
            lines += [Text(INDENT * 2 + part) for part in value_lines(str(error), screen, screen.width - 4)]
    return lines


def _with_times(attempt: Mapping[str, object]) -> dict[str, object]:
    """Parse the times of an attempt; the ledger stores them as strings."""
    return {name: _time(value) if name.endswith("_at") else value for name, value in attempt.items()}


def _time(value: object) -> object:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value
