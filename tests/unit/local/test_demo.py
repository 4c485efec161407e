"""The demo's functions without I/O: the choice of documents, and the delay of retries."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from streams.local.demo.checks import ClaimError, check, wait_for
from streams.local.demo.documents import DocumentsError, read_documents
from streams.local.demo.failure import retry_delays

NOON = datetime.fromisoformat("2026-11-24T12:00:00+00:00")


def test_a_folder_s_documents_are_those_that_can_be_indexed(tmp_path: Path) -> None:
    """By extension, in any case, also in subfolders. Hidden and other files are skipped."""
    for name in ("b.MD", "a.txt", "deep/er/c.html", "picture.png", ".hidden.md", ".local/storage/d.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    found = read_documents(tmp_path)

    assert [(source.name, source.extension) for source in found] == [
        ("a.txt", "txt"),
        ("b.MD", "md"),
        ("deep/er/c.html", "html"),
    ]
    assert found[0].content == b"a.txt"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentsError, match=f"there is no folder {tmp_path}/none"):
        read_documents(tmp_path / "none")


def test_the_handbook_is_there() -> None:
    assert "annual-leave.md" in [source.name for source in read_documents(None)]


def test_lateness_is_between_the_due_time_and_the_run() -> None:
    """The second run was due one second after noon and started 20 ms late. The third started 10 ms early."""
    history: list[dict[str, object]] = [
        {"attempt": number, "started_at": (NOON + timedelta(seconds=seconds)).isoformat()}
        for number, seconds in ((1, 0.0), (2, 1.02), (3, 2.99))
    ]
    due = {1: NOON + timedelta(seconds=1), 2: NOON + timedelta(seconds=3), 3: NOON + timedelta(seconds=7)}

    assert retry_delays(history, due) == pytest.approx([0.02, -0.01])


def test_a_claim_that_does_not_hold_says_what_is_the_case() -> None:
    check(condition=True, message="never said")
    with pytest.raises(ClaimError, match="three are left"):
        check(condition=False, message="three are left")


def test_what_never_comes_is_named_after_its_time() -> None:
    with pytest.raises(ClaimError, match="the last document did not happen within 0 s"):
        wait_for(lambda: None, "the last document", seconds=0, alive=lambda: None)
