"""What a compute process may do: a bounded heap and file size, no new rights, no network, no other programs."""

import ctypes
import os
import re
import resource
import signal
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from streams.delivery.process_pool import seccomp

MAX_FILE_BYTES = 4 << 30
"""The largest file that a compute process may write."""
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_CAPABILITIES_VERSION = 0x20080522
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}
_FILE_CAPABILITIES = 0b1111
"""CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER: as root in a container, code may belong to another account."""
_PASSED = re.compile(
    r"PATH|HOME|USER|LANG|LANGUAGE|TZ|TMPDIR|VIRTUAL_ENV|LD_LIBRARY_PATH"
    r"|(LC|PYTHON|COVERAGE|OMP|OPENBLAS|MKL|RAYON|TOKENIZERS|MALLOC)_?[A-Z0-9_]*"
)


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that compute processes get: those of the language, of Python and of numeric libraries.

    Everything else may be a secret. It is not even in the memory of these processes.
    """
    return {name: value for name, value in environment.items() if _PASSED.fullmatch(name)}


def hide_memory() -> None:
    """Forbid other processes of this account to read the memory and the environment of this one. No core dumps."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process with its parent. Ends it if the parent is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def confine(memory: int | None, *, filtered: bool) -> int:
    """Take from this process what its tasks do not need. Nothing of it can be taken back.

    Args:
        memory: MiB of heap and private mappings beyond those of now; None: no limit.
        filtered: Whether to filter system calls: no network, no other programs and processes.

    Returns:
        The bytes of heap and private mappings of now.
    """
    hide_memory()
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    used = memory_used()
    if memory is not None:
        # Heap and private mappings. RLIMIT_AS would also count the shared libraries.
        _lower(resource.RLIMIT_DATA, used + (memory << 20))
    if sys.platform == "linux":
        _drop_rights()
        if filtered:
            seccomp.install()
    return used


def can_filter() -> bool:
    """Return whether the kernel filters system calls here. Tries it in a process that ends at once."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with suppress(BaseException):
            _drop_rights()
            seccomp.install()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def limit_processor_time(seconds: float | None) -> None:
    """Let the kernel kill this process (SIGXCPU) when it has used this much more processor time; None: no limit."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = resource.RLIM_INFINITY if seconds is None else int(used + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def memory_used() -> int:
    """Return the bytes of heap and private mappings of this process; 0 if the kernel does not report them."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^VmData:\s+(\d+) kB$", status, flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (lowest, lowest))


def _drop_rights() -> None:
    """Give up every capability but those for files, for good: also a program with more rights would get none."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(64):
        if not _FILE_CAPABILITIES >> capability & 1:
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    capset = _SYS_CAPSET.get(os.uname().machine)
    if capset is not None and os.geteuid() == 0:
        header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITIES_VERSION, 0))
        kept = struct.pack("IIIIII", _FILE_CAPABILITIES, _FILE_CAPABILITIES, 0, 0, 0, 0)
        libc.syscall(capset, header, ctypes.create_string_buffer(kept, len(kept)))
