"""Which columns of a table are shown: by priority and width, never squeezed."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from streams.cli.cells import cell, cut
from streams.cli.screen import Screen
from streams.cli.tables import DETAIL, GAP, Column, Need, fit, table, table_lines

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@st.composite
def a_need(draw: st.DrawFn) -> Need:
    natural = draw(st.integers(1, 150))
    least = draw(st.one_of(st.just(natural), st.integers(1, natural)))
    return Need(natural, least, draw(st.integers(1, 11)))


NEEDS = st.lists(a_need(), min_size=1, max_size=12)
WIDTHS = st.integers(1, 300)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def used(widths: list[int | None]) -> int:
    shown = [width for width in widths if width is not None]
    return sum(shown) + GAP * (len(shown) - 1)


def terminal(width: int) -> Screen:
    return Screen(terminal=True, width=width, now=NOW)


@given(NEEDS, WIDTHS)
def test_what_is_chosen_fits(needs: list[Need], width: int) -> None:
    """Unless one column alone is wider than the terminal: it is shown whole all the same."""
    widths = fit(needs, width)
    assert used(widths) <= width or sum(one is not None for one in widths) == 1


@given(NEEDS, WIDTHS)
def test_the_column_of_the_first_priority_is_always_shown(needs: list[Need], width: int) -> None:
    first = min(range(len(needs)), key=lambda place: needs[place].priority)
    assert fit(needs, width)[first] is not None


@given(NEEDS, WIDTHS)
def test_no_column_gets_less_than_its_least_nor_more_than_it_needs(needs: list[Need], width: int) -> None:
    for need, given_width in zip(needs, fit(needs, width), strict=True):
        assert given_width is None or need.least <= given_width <= need.natural


@given(NEEDS, WIDTHS)
def test_nothing_is_left_unused_that_a_cut_column_or_a_hidden_one_could_use(needs: list[Need], width: int) -> None:
    widths = fit(needs, width)
    free = width - used(widths)
    hidden = [need.priority for need, given_width in zip(needs, widths, strict=True) if given_width is None]
    for need, given_width in zip(needs, widths, strict=True):
        if given_width is None:
            assert GAP + need.least > free or (need.priority >= DETAIL and min(hidden) <= need.priority)
        else:
            assert given_width == need.natural or free <= 0


@given(NEEDS, WIDTHS)
def test_a_detail_is_never_shown_in_place_of_what_matters_more(needs: list[Need], width: int) -> None:
    widths = fit(needs, width)
    hidden = [need.priority for need, given_width in zip(needs, widths, strict=True) if given_width is None]
    shown = [need.priority for need, given_width in zip(needs, widths, strict=True) if given_width is not None]
    first = min(need.priority for need in needs)
    details = [priority for priority in shown if priority >= DETAIL and priority != first]
    assert not details or not hidden or max(details) <= min(hidden)


@given(NEEDS)
def test_all_columns_are_shown_whole_where_there_is_room(needs: list[Need]) -> None:
    room = sum(need.natural for need in needs) + GAP * (len(needs) - 1)
    assert fit(needs, room) == [need.natural for need in needs]


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.integers(30, 120))
def test_cells_stand_below_their_heading_whatever_is_in_them(rows: list[tuple[str, str]], width: int) -> None:
    """Wide characters count for two, control characters are spelled out, nothing makes a new line."""
    columns = (Column("first", 1, least=5), Column("second", 2, least=5))
    shown = table(columns, [{"first": first, "second": second} for first, second in rows], terminal(width))
    for line in (shown.heading, *shown.lines):
        assert "\n" not in line.plain
        assert line.cell_len <= width
    lines = [line.plain for line in table_lines(columns, [{"first": one, "second": two} for one, two in rows], PIPE)]
    assert len(lines) == len(rows) + 1


PIPE = Screen(terminal=False, width=10, now=NOW)


def test_a_column_without_values_is_shown_in_a_pipe_alone() -> None:
    columns = (Column("id", 1), Column("error", 2))
    rows = [{"id": "a", "error": None}]
    assert [line.plain.rstrip() for line in table_lines(columns, rows, terminal(80))] == ["id", "a"]
    assert [line.plain.split() for line in table_lines(columns, rows, PIPE)] == [["id", "error"], ["a", "-"]]


def test_what_does_not_fit_is_counted() -> None:
    columns = (Column("id", 1), Column("name", 2))
    rows = [{"id": "x" * 70, "name": "y" * 20}]
    *_, note = table_lines(columns, rows, terminal(80))
    assert note.plain == "1 more column with --wide"


def test_names_are_cut_after_a_whole_one() -> None:
    names = ["document.deleted", "documents.deleted", "dataset.deleted"]
    whole = cell(names, terminal(80))
    assert cut(names, whole, 30) == "document.deleted, +2"
    assert cut(names, whole, 45) == "document.deleted, documents.deleted, +1"
    assert cut(names, whole, 10) == "3"


def test_a_cut_text_ends_with_dots_and_fits() -> None:
    text = "連接被拒絕 " * 10
    shown = cut(text, text, 21)
    assert shown.endswith("…")
    assert cell_len(shown) <= 21


def test_markup_in_a_value_is_text_and_a_status_has_its_colour() -> None:
    columns = (Column("status", 1, styles={"failure": "red"}), Column("error", 2))
    (line,) = table(columns, [{"status": "failure", "error": "[bold]no[/bold]"}], terminal(80)).lines
    assert line.plain == "failure  [bold]no[/bold]"
    assert [line.plain[span.start : span.end] for span in line.spans if span.style == "red"] == ["failure"]
