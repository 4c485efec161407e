"""Runs a command with the limits of a container: `python -m tests.support.processes.container COMMAND …`.

It has the capabilities that Docker gives by default, no new namespaces and mounts (Docker's seccomp profile refuses
these calls with EPERM), and 1,024 open files. Without root, only the calls and the files are limited.
"""

import ctypes
import os
import platform
import resource
import struct
import sys

_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})
"""Docker's default set, by the numbers of linux/capability.h: chown, dac_override, …, without sys_ptrace, sys_admin."""
_LAST_CAPABILITY = 40
_OPEN_FILES = 1024
_REFUSED_CALLS = {"x86_64": (272, 165, 308), "aarch64": (97, 40, 268)}
"""unshare, mount, setns."""
_PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 22, 24, 38
_SECCOMP_MODE_FILTER = 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _EPERM = 0x7FFF0000, 0x00050001


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def confine() -> None:
    """Limit this process and the programs that it executes. Raises OSError."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    if os.geteuid() != 0:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0)
    _refuse_calls(_REFUSED_CALLS[platform.machine()])
    if os.geteuid() == 0:
        for capability in set(range(_LAST_CAPABILITY + 1)) - _CAPABILITIES:
            _prctl(_PR_CAPBSET_DROP, capability, 0)


def _refuse_calls(numbers: tuple[int, ...]) -> None:
    """Install a filter (seccomp(2)): the number of the call is the first field of its data."""
    instructions = [struct.pack("HBBI", _LOAD, 0, 0, 0)]
    for number in numbers:
        instructions += [struct.pack("HBBI", _EQUAL, 0, 1, number), struct.pack("HBBI", _RETURN, 0, 0, _EPERM)]
    instructions.append(struct.pack("HBBI", _RETURN, 0, 0, _ALLOW))
    program = _Program(len(instructions), b"".join(instructions))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))


def _prctl(option: int, first: int, second: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(first), ctypes.c_ulong(second), 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"prctl {option}")


if __name__ == "__main__":
    confine()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - no shell is wanted
