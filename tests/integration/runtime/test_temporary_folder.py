"""Temporary folders of attempts end with them, or with a later start."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from streams.delivery.temporary_folder import remove_left_folders, temporary_folder

REQUIREMENT = "L7: folders that a killed worker has left are removed by a later start"
_HOLD = """
import sys, time
from streams.delivery.temporary_folder import temporary_folder
with temporary_folder() as folder:
    (folder / "source").write_text("a tenant's file")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _age(folder: Path) -> None:
    """Make a folder look an hour old."""
    os.utime(folder, (time.time() - 3600,) * 2)


@pytest.mark.requirement("Faults of others", REQUIREMENT)
def test_a_folder_of_a_killed_process_is_removed(temporary: Path) -> None:
    """While the process lives, the folder stays. After SIGKILL the next start removes it with its files."""
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.parent == temporary
        _age(folder)
        assert remove_left_folders() == 0
        process.kill()
    assert (folder / "source").exists()
    _age(folder)
    assert remove_left_folders() == 1
    assert not folder.exists()


@pytest.mark.requirement("Faults of others", REQUIREMENT)
def test_only_own_folders_without_a_holder_are_removed(temporary: Path) -> None:
    """Not a folder in use, a new one, another name, a link, or a file."""
    other = temporary / "streams-other"
    linked, target = temporary / "streams-attempt-link", temporary / "target"
    new, old, file = (temporary / f"streams-attempt-{name}" for name in ("new", "old", "file"))
    for folder in (other, target, new, old):
        folder.mkdir()
        (folder / "kept").touch()
    linked.symlink_to(target)
    file.touch()
    for place in (other, target, old, file):
        _age(place)
    with temporary_folder() as used:
        _age(used)
        assert remove_left_folders() == 1
        assert used.exists()
    assert not used.exists()
    assert not old.exists()
    assert all(place.exists() for place in (other / "kept", target / "kept", new / "kept", linked, file))
