"""The output formats, times, and the escaping of control characters."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.cells import to_json
from streams.cli.output import (
    WRONG_REQUEST,
    CommandError,
    Format,
    Output,
    print_csv,
    print_json,
    print_rows,
    run_reporting_errors,
)
from streams.cli.tables import Column
from streams.cli.times import absolute, relative
from streams.observability.printable import escape_json, escape_line, escape_lines

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS = (Column("id", 1), Column("names", 2), Column("at", 3), Column("done", 4))
ROWS: list[dict[str, object]] = [
    {"id": "a,b", "names": ["x", "y"], "at": NOW, "done": True},
    {"id": 'say "no"', "names": [], "at": None, "done": False},
]
STREAMS = Path(sys.executable).with_name("streams")


class Terminal(io.StringIO):
    """A stream that a command takes for a terminal."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(width: int, *command: str, **environment: str) -> str:
    """Return what a command writes to a terminal with `width` columns."""
    ours, its = pty.openpty()
    surroundings = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    with subprocess.Popen(
        [STREAMS, *command],
        stdout=its,
        stdin=subprocess.DEVNULL,
        env={**surroundings, "COLUMNS": str(width), "TERM": "xterm-256color", **environment},
    ) as process:
        os.close(its)
        written = b""
        while chunk := _read(ours):
            written += chunk
        assert process.wait() == 0
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux raises it once the other end is closed
        return b""


@pytest.mark.requirement("Output of commands", "`--output table|json|jsonl|csv`")
def test_json_is_an_array_and_json_lines_its_elements(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, COLUMNS, Output(Format.JSON))
    whole = capsys.readouterr().out
    assert whole == (
        '[{"id": "a,b", "names": ["x", "y"], "at": "2026-03-01T12:00:00+00:00", "done": true}, '
        '{"id": "say \\"no\\"", "names": [], "at": null, "done": false}]\n'
    )
    print_rows(ROWS, COLUMNS, Output(Format.JSONL))
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == json.loads(whole)


@pytest.mark.requirement("Output of commands", "`--output table|json|jsonl|csv`")
def test_csv_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, COLUMNS, Output(Format.CSV))
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [
        ["id", "names", "at", "done"],
        ["a,b", '["x", "y"]', "2026-03-01T12:00:00+00:00", "true"],
        ['say "no"', "[]", "", "false"],
    ]


def test_the_output_without_rows_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for kind in Format:
        print_rows([], COLUMNS, Output(kind), empty="nobody")
        printed.append(capsys.readouterr().out)
    assert dict(zip(Format, printed, strict=True)) == {
        Format.TABLE: "nobody\n",
        Format.JSON: "[]\n",
        Format.JSONL: "",
        Format.CSV: "id,names,at,done\n",
    }


def test_a_terminal_gets_no_control_character_in_any_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in formats that allow control characters, such as CSV and JSON."""
    evil = "a\x1b[2Jb\x9bc\u202ed\ne"
    for kind in Format:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        print_rows([{"id": evil}], COLUMNS[:1], Output(kind))
        written = terminal.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert all(line.isprintable() for line in written.splitlines()), repr(written)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_json(evil)
    assert json.loads(terminal.getvalue()) == evil


def test_csv_values_are_unchanged_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv([{"id": "two\nlines"}], ["id"])
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [["id"], ["two\nlines"]]


def test_an_error_is_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise CommandError("no topic \x1b[31mred\n\tat all", WRONG_REQUEST)

    with pytest.raises(SystemExit) as ended:
        run_reporting_errors(fails)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "streams: no topic \\x1b[31mred at all\n"


@given(st.text())
def test_an_escaped_line_is_one_line_and_printable_text_stays(text: str) -> None:
    shown = escape_line(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in shown)
    assert shown == text or not text.isprintable() or any("\ud800" <= letter <= "\udfff" for letter in text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escaped_json_has_the_same_value(text: str) -> None:
    shown = escape_json(to_json([text]))
    assert json.loads(shown) == [text]
    assert len(shown.splitlines()) == 1


def test_the_lines_of_a_stack_trace_are_kept() -> None:
    assert escape_lines("one\r\n\ttwo\n\x1b[31mthree") == ["one", "    two", "\\x1b[31mthree"]


@pytest.mark.requirement("Output of commands", "relative times")
@pytest.mark.parametrize(
    ("seconds", "formatted"),
    [
        (0, "now"),
        (0.9, "now"),
        (12, "12 s ago"),
        (59.9, "59 s ago"),
        (60, "1 min ago"),
        (3 * 60 + 59, "3 min ago"),
        (3600, "1 h ago"),
        (47 * 3600, "47 h ago"),
        (48 * 3600, "2 days ago"),
        (400 * 86_400, "400 days ago"),
        (-90, "in 1 min"),
        (-5 * 3600, "in 5 h"),
    ],
)
def test_relative_times(seconds: float, formatted: str) -> None:
    assert relative(NOW - timedelta(seconds=seconds), NOW) == formatted


def test_absolute_times_can_be_parsed() -> None:
    assert datetime.fromisoformat(absolute(NOW)) == NOW


def test_a_real_terminal_gets_colours_and_no_line_that_is_too_long() -> None:
    shown = on_a_terminal(80, "pools")
    assert "\x1b[1m" in shown
    plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "").replace("\x1b[2m", "")
    assert "\x1b" not in plain
    assert all(len(line) <= 80 for line in plain.splitlines())
    assert ", +" in plain, "topics whose names do not fit are not counted"
    assert "+" not in on_a_terminal(80, "pools", "--wide").replace("\x1b", "")


def test_a_real_terminal_gets_no_colours_with_no_color() -> None:
    """NO_COLOR forbids colours, but not bold text."""
    coloured = on_a_terminal(200, "settings", STREAMS_TOPIC_PREFIX="ours.")
    assert "\x1b[36m" in coloured, "a value from the environment has no colour"
    assert "\x1b[36m" not in on_a_terminal(200, "settings", STREAMS_TOPIC_PREFIX="ours.", NO_COLOR="1")


def test_a_pipe_gets_no_colours_and_whole_values() -> None:
    environment = {**os.environ, "COLUMNS": "40", "STREAMS_TOPIC_PREFIX": "a-prefix-that-makes-all-names-long."}
    done = subprocess.run([STREAMS, "pools"], capture_output=True, text=True, check=True, env=environment)
    heading, *rows = done.stdout.splitlines()
    assert heading.split() == ["name", "priority", "concurrency", "prefetch", "topics"]
    assert [row.split()[0] for row in rows] == ["high", "default", "low"]
    assert "\x1b" not in done.stdout
    assert "…" not in done.stdout
