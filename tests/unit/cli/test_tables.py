"""The choice of a table's columns by priority and width."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from streams.cli.cells import format_cell, truncate
from streams.cli.screen import Screen
from streams.cli.tables import DETAIL_PRIORITY, GAP, Column, WidthNeed, build_table, fit_columns, table_lines

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@st.composite
def a_need(draw: st.DrawFn) -> WidthNeed:
    full_width = draw(st.integers(1, 150))
    least = draw(st.one_of(st.just(full_width), st.integers(1, full_width)))
    return WidthNeed(full_width, least, draw(st.integers(1, 11)))


NEEDS = st.lists(a_need(), min_size=1, max_size=12)
WIDTHS = st.integers(1, 300)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def used(widths: list[int | None]) -> int:
    shown = [width for width in widths if width is not None]
    return sum(shown) + GAP * (len(shown) - 1)


def terminal(width: int) -> Screen:
    return Screen(is_terminal=True, width=width, now=NOW)


@pytest.mark.requirement(
    "Output of commands",
    "a table shows the columns that matter, whole, by the terminal's width; `--wide` for all",
)
@given(NEEDS, WIDTHS)
def test_the_chosen_columns_fit(needs: list[WidthNeed], width: int) -> None:
    """A single column that is wider than the terminal is still shown whole."""
    widths = fit_columns(needs, width)
    assert used(widths) <= width or sum(one is not None for one in widths) == 1


@given(NEEDS, WIDTHS)
def test_the_column_with_the_first_priority_is_always_shown(needs: list[WidthNeed], width: int) -> None:
    first = min(range(len(needs)), key=lambda place: needs[place].priority)
    assert fit_columns(needs, width)[first] is not None


@given(NEEDS, WIDTHS)
def test_every_width_is_between_the_minimum_and_the_full_width(needs: list[WidthNeed], width: int) -> None:
    for need, given_width in zip(needs, fit_columns(needs, width), strict=True):
        assert given_width is None or need.min_width <= given_width <= need.full_width


@given(NEEDS, WIDTHS)
def test_no_cells_stay_free_that_a_cut_or_hidden_column_could_use(needs: list[WidthNeed], width: int) -> None:
    widths = fit_columns(needs, width)
    free = width - used(widths)
    hidden = [need.priority for need, given_width in zip(needs, widths, strict=True) if given_width is None]
    for need, given_width in zip(needs, widths, strict=True):
        if given_width is None:
            assert GAP + need.min_width > free or (need.priority >= DETAIL_PRIORITY and min(hidden) <= need.priority)
        else:
            assert given_width == need.full_width or free <= 0


@given(NEEDS, WIDTHS)
def test_a_detail_is_never_shown_before_a_more_important_column(needs: list[WidthNeed], width: int) -> None:
    widths = fit_columns(needs, width)
    hidden = [need.priority for need, given_width in zip(needs, widths, strict=True) if given_width is None]
    shown = [need.priority for need, given_width in zip(needs, widths, strict=True) if given_width is not None]
    first = min(need.priority for need in needs)
    details = [priority for priority in shown if priority >= DETAIL_PRIORITY and priority != first]
    assert not details or not hidden or max(details) <= min(hidden)


@given(NEEDS)
def test_all_columns_are_shown_whole_if_they_fit(needs: list[WidthNeed]) -> None:
    room = sum(need.full_width for need in needs) + GAP * (len(needs) - 1)
    assert fit_columns(needs, room) == [need.full_width for need in needs]


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.integers(30, 120))
def test_cells_are_aligned_with_their_heading_for_any_text(rows: list[tuple[str, str]], width: int) -> None:
    """Wide characters count as two cells, control characters are escaped, and no value starts a new line."""
    columns = (Column("first", 1, min_width=5), Column("second", 2, min_width=5))
    shown = build_table(columns, [{"first": first, "second": second} for first, second in rows], terminal(width))
    for line in (shown.heading, *shown.lines):
        assert "\n" not in line.plain
        assert line.cell_len <= width
    lines = [line.plain for line in table_lines(columns, [{"first": one, "second": two} for one, two in rows], PIPE)]
    assert len(lines) == len(rows) + 1


PIPE = Screen(is_terminal=False, width=10, now=NOW)


def test_a_column_without_values_is_shown_only_in_a_pipe() -> None:
    columns = (Column("id", 1), Column("error", 2))
    rows = [{"id": "a", "error": None}]
    assert [line.plain.rstrip() for line in table_lines(columns, rows, terminal(80))] == ["id", "a"]
    assert [line.plain.split() for line in table_lines(columns, rows, PIPE)] == [["id", "error"], ["a", "-"]]


def test_hidden_columns_are_counted() -> None:
    columns = (Column("id", 1), Column("name", 2))
    rows = [{"id": "x" * 70, "name": "y" * 20}]
    *_, note = table_lines(columns, rows, terminal(80))
    assert note.plain == "1 more column with --wide"


def test_a_list_of_names_is_cut_after_a_whole_name() -> None:
    names = ["document.deleted", "documents.deleted", "dataset.deleted"]
    whole = format_cell(names, terminal(80))
    assert truncate(names, whole, 30) == "document.deleted, +2"
    assert truncate(names, whole, 45) == "document.deleted, documents.deleted, +1"
    assert truncate(names, whole, 10) == "3"


def test_a_cut_text_ends_with_dots_and_fits() -> None:
    text = "連接被拒絕 " * 10
    shown = truncate(text, text, 21)
    assert shown.endswith("…")
    assert cell_len(shown) <= 21


@pytest.mark.requirement("Output of commands", "a status has its colour; data is never markup")
def test_markup_in_a_value_is_not_interpreted_and_a_status_has_its_colour() -> None:
    columns = (Column("status", 1, styles={"failure": "red"}), Column("error", 2))
    (line,) = build_table(columns, [{"status": "failure", "error": "[bold]no[/bold]"}], terminal(80)).lines
    assert line.plain == "failure  [bold]no[/bold]"
    assert [line.plain[span.start : span.end] for span in line.spans if span.style == "red"] == ["failure"]
