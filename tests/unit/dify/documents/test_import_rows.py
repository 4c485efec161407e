"""The rows of an import are read from a CSV file; a row that cannot be used is reported."""

from pathlib import Path

import pytest

from streams.dify.errors import RefusedError
from streams.dify.imports.csv_rows import ImportRequest, ReadRows, read_rows, rows_in
from streams.dify.splitting.forms import Form
from streams.dify.splitting.rules import Segmentation

SECTION = "The whole domain"


def _request(
    folder: Path, content: bytes, form: Form = "text_model", children: Segmentation | None = None
) -> ImportRequest:
    request = ImportRequest(folder, form, children, count_tokens=False)
    request.source.write_bytes(content)
    return request


@pytest.mark.requirement(
    SECTION, "segments.import-requested: the first row is the header, quotes and line ends are kept"
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_usual_files(tmp_path: Path, mark: bytes) -> None:
    """With and without a byte order mark. More columns than needed have no effect."""
    request = _request(tmp_path, mark + 'content,x\r\n"a, ""b""\r\nc",1\r\n名字,2,3\r\n'.encode())
    assert read_rows(request) == ReadRows(2, 0, ())
    assert [(row.number, row.content, row.answer) for row in rows_in(request)] == [
        (1, 'a, "b"\nc', None),
        (2, "名字", None),
    ]


@pytest.mark.requirement(SECTION, "segments.import-requested: usable rows become segments, the others are reported")
def test_many_bad_rows(tmp_path: Path) -> None:
    """Thousands are counted, the first fifty are named. The number of a usable row does not count them."""
    request = _request(tmp_path, b"content\n" + b'""\n' * 2500 + b"last\n")
    read = read_rows(request)
    assert (read.usable, read.refused, len(read.reports)) == (1, 2500, 50)
    assert (read.reports[0].row, read.reports[-1].row) == (2, 51)
    assert [row.number for row in rows_in(request)] == [1]


def test_children_of_hierarchical_documents(tmp_path: Path) -> None:
    """They are split by the rule. A content that is only the separator is its own child."""
    rule = Segmentation(size=50, overlap=0, separator=". ")
    request = _request(tmp_path, b"content\nOne. Two. Three\n.\n", "hierarchical_model", rule)
    read_rows(request)
    assert [row.children for row in rows_in(request)] == [["One", "Two", "Three"], ["."]]


def test_a_row_that_cannot_be_read(tmp_path: Path) -> None:
    """The rows after it are read."""
    request = _request(tmp_path, b"content\n" + b"x" * (11 * 1024 * 1024) + b"\nlast\n")
    read = read_rows(request)
    assert [row.content for row in rows_in(request)] == ["last"]
    assert [(one.row, one.reason[:18]) for one in read.reports] == [(2, "field larger than ")]


def test_answers(tmp_path: Path) -> None:
    request = _request(tmp_path, b"question,answer\nWho?,Ada\nWhy?,\nWhen?\n", "qa_model")
    read = read_rows(request)
    assert [(row.content, row.answer) for row in rows_in(request)] == [("Who?", "Ada")]
    assert [one.row for one in read.reports] == [3, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no usable row"),
        (b"content\n", "no usable row"),
        (b"content\n \n", "row 2: the first column is empty"),
        (b"content\n" + "Grüße aus Köln und Übersee für Jürgen".encode() + b" \xff", "not UTF-8 text"),
        (b"content\na\x00b", "binary"),
        (b"content\n" + b"x" * (11 * 1024 * 1024), "row 2: field larger than field limit"),
    ],
)
def test_files_without_rows(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        read_rows(_request(tmp_path, content))
