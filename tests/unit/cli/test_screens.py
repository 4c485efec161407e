"""The output of commands at 80 and 200 columns and in a pipe, compared with golden files."""

import pytest
from rich.cells import cell_len

from streams.cli.dead_letter_page import dead_letter_page
from streams.cli.screen import Screen
from tests.unit.cli import screens

EACH_SCREEN = pytest.mark.parametrize("name", screens.SCREENS)
LISTS = [name for name in screens.SCREENS if not name.endswith("-show")]


@pytest.mark.requirement("Output of commands", "screens of 80 and 200 columns, and pipes, as golden files")
@EACH_SCREEN
def test_a_screen_is_the_same_as_its_golden_file(name: str) -> None:
    for path, screen in screens.golden_files(name).items():
        assert screens.lines(name, screen) == path.read_text(encoding="utf-8").splitlines(), f"see {screens.MAKE}"


def test_no_golden_file_is_unused() -> None:
    known = {path for name in screens.SCREENS for path in screens.golden_files(name)}
    assert set(screens.FOLDER.glob("*.txt")) == known


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_table_is_no_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(map(cell_len, screens.lines(name, screens.terminal(width)))) <= width


@pytest.mark.requirement(
    "Output of commands",
    "a table shows the columns that matter, whole, by the terminal's width; `--wide` for all",
)
@pytest.mark.parametrize(("name", "column"), [("dlq-list", "id"), ("executions-list", "event_id"), ("lag", "topic")])
@pytest.mark.parametrize("width", [20, 80, 200])
def test_ids_and_names_are_whole_at_any_width(name: str, column: str, width: int) -> None:
    """Also on a terminal that is narrower than the id."""
    rows = {"dlq-list": screens.LETTERS, "executions-list": screens.EXECUTIONS}.get(name)
    expected = [str(row[column]) for row in rows] if rows else ["app.published-workflow-updated"]
    shown = screens.lines(name, screens.terminal(width))
    assert all(any(one in line.split() for line in shown) for one in expected)


@pytest.mark.requirement("Output of commands", "piped output is never wrapped or cut")
@pytest.mark.parametrize("name", LISTS)
def test_a_pipe_gets_one_line_for_each_row_and_no_more(name: str) -> None:
    heading, *piped = screens.lines(name, screens.pipe())
    wide_heading, *wide = screens.lines(name, screens.terminal(80, wide=True))
    assert heading.split() == wide_heading.split(), "--wide and a pipe have different columns"
    assert len(piped) == len(wide)


@EACH_SCREEN
def test_a_screen_has_no_control_characters(name: str) -> None:
    """A name in the rows has an escape sequence that would change the colour."""
    for screen in (screens.terminal(80), screens.pipe()):
        assert all(line.isprintable() for line in screens.lines(name, screen))


@pytest.mark.requirement("Output of commands", "piped output is never wrapped or cut")
def test_a_long_value_is_cut_on_a_terminal_and_whole_in_a_pipe() -> None:
    value = "base64:" + "A" * 5_000
    letter = {**screens.SHOWN_LETTER, "value": value}
    on_terminal = [line.plain for line in dead_letter_page(letter, screens.terminal(80))]
    assert "  5007 characters; --wide shows all of them" in on_terminal
    assert sum(map(len, on_terminal)) < 5_000
    for whole in (screens.pipe(), screens.terminal(80, wide=True)):
        assert f"  {value}" in [line.plain for line in dead_letter_page(letter, whole)]


@pytest.mark.requirement("Output of commands", "`show` commands print stacks as stacks and headers as lines, once")
@pytest.mark.parametrize("screen", [screens.terminal(80), screens.terminal(200), screens.pipe()])
def test_a_stack_trace_is_shown_once_and_line_by_line(screen: Screen) -> None:
    shown = screens.lines("dlq-show", screen)
    frames = [number for number, line in enumerate(shown) if 'File "acme/runner.py"' in line]
    assert len(frames) == 1
    assert shown[frames[0] - 1 : frames[0] + 2] == [f"  {line}" for line in screens.STACK.splitlines()[:3]]
    headers = shown[shown.index("headers") + 1 :]
    names = [name for name, _ in screens.SHOWN_HEADERS]
    assert [line.split()[0] for line in headers] == names
