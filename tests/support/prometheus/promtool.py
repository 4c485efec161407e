"""Runs promtool, where it is installed."""

import shutil
import subprocess

import pytest

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian, Ubuntu: apt-get install prometheus)"
)


def promtool(*arguments: str) -> None:
    """Run promtool. A failure is shown with its output."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
