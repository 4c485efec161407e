"""The memory of large buffers goes back to the kernel, also of those between small objects that stay."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
from streams.transport.memory import return_large_buffers

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20

if sys.argv[1] == "mapped":
    assert return_large_buffers()
bytearray(16 * 2**20)  # glibc raises its threshold when this is freed
before, small = resident(), []
for _ in range(20):
    large = [bytearray(2**20) for _ in range(4)]
    small.append(bytearray(4096))
    del large[:3]
    small.append(bytearray(100_000))
    del large
print(resident() - before, flush=True)
"""


def grown(kind: str) -> int:
    """Return by how many MiB a process has grown that has freed all its large buffers."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, kind], capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_freed_buffers_do_not_stay() -> None:
    assert grown("mapped") < grown("heap")
