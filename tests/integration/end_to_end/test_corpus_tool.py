"""`python -m benchmarks.corpus FOLDER` shows what becomes of anybody's files."""

import json
from pathlib import Path

import pytest

from benchmarks.corpus import __main__ as corpus
from tests.support.platform.document_files import pdf, word

SECTION = "Extraction"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return files of three outcomes, and one that no worker reads."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "leave.PDF").write_bytes(pdf("First page", "Second page"))
    (tmp_path / "half.pdf").write_bytes(pdf("First page", "Second page").replace(b"4 0 R 6 0 R", b"4 0 R 77 0 R"))
    (tmp_path / "locked.pdf").write_bytes(pdf("Secret", password="secret"))
    (tmp_path / "report.docx").write_bytes(word())
    (tmp_path / "picture.png").write_bytes(b"no document")
    return tmp_path


@pytest.mark.requirement(SECTION, "anybody can try a folder of files: `python -m benchmarks.corpus FOLDER`")
def test_a_folder_of_files_becomes_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file has its line, in the order of the names, and each format its sum."""
    assert corpus.main([str(folder), "--processes", "1"]) == 0
    files, formats = (block.splitlines() for block in capsys.readouterr().out.split("\n\n"))
    assert files[0].split() == list(corpus.HEADS)
    outcomes = {line.split()[0]: line.split("  ")[-1] for line in files[1:]}
    assert outcomes == {
        "half.pdf": "text; page 2 cannot be read: the PDF is damaged there",
        "inner/leave.PDF": "text",
        "locked.pdf": "refused: the PDF is encrypted: save it without a password",
        "report.docx": "text",
    }
    counted = {line.split()[0]: line.split()[1:7] for line in formats[1:]}
    assert counted == {
        "docx": ["1", "1", "0", "0", "0", "0"],
        "pdf": ["3", "2", "1", "1", "0", "0"],
        "all": ["4", "3", "1", "1", "0", "0"],
    }


def test_the_figures_are_json_on_demand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs get the same, and a share of the words where it is counted."""
    assert corpus.main([str(folder), "--json", "--processes", "2"]) == 0
    shown = json.loads(capsys.readouterr().out)
    by_name = {file["file"]: file for file in shown["files"]}
    assert by_name["inner/leave.PDF"]["parts"] == 2
    assert by_name["report.docx"]["whole"] == 1.0
    assert by_name["locked.pdf"]["characters"] == 0
    assert all(file["memory"] > 0 for file in shown["files"])
    assert shown["formats"]["all"]["files"] == 4


def test_a_folder_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        corpus.main(["no-such-folder"])
    assert "no-such-folder is no folder" in capsys.readouterr().err
