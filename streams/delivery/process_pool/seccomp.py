"""A filter of system calls: no network, no other processes, no more rights. Loaded with ctypes; Linux only."""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_EPERM, _ENOSYS = 1, 38
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_OR_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""The instructions of classic BPF: load a word, three conditional jumps, return."""
_NUMBER, _ARCHITECTURE = 0, 4
"""Offsets in `struct seccomp_data`."""
_X32 = 0x40000000
"""The bit of system calls of the x32 interface. They would reach the same functions by other numbers."""
_CLONE_THREAD = 0x00010000
_RLIMIT_CPU = 0

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


class SystemCalls(NamedTuple):
    """The numbers of the system calls of one processor architecture that the filter knows."""

    architecture: int
    denied: Sequence[int]
    """They fail with EPERM."""
    clone: int
    clone3: int
    kill: Sequence[int]
    """Their first argument is a process id. Only the own one is allowed."""
    prlimit: int
    setrlimit: int


# The order of names: socket, connect, bind, listen, accept, accept4, ptrace, execve, execveat, process_vm_readv,
# process_vm_writev, pidfd_open, pidfd_send_signal, pidfd_getfd, tkill, rt_sigqueueinfo, rt_tgsigqueueinfo, unshare,
# setns, mount, umount2, pivot_root, chroot, bpf, perf_event_open, add_key, request_key, keyctl, io_uring_setup,
# userfaultfd, open_by_handle_at, init_module, finit_module, kexec_load; on x86_64 also fork and vfork.
_X86_64 = SystemCalls(
    architecture=0xC000003E,
    denied=(
        *(41, 42, 49, 50, 43, 288, 101, 59, 322, 310, 311, 434, 424, 438, 200, 129, 297, 272, 308, 165, 166, 155, 161),
        *(321, 298, 248, 249, 250, 425, 323, 304, 175, 313, 246, 57, 58),
    ),
    clone=56,
    clone3=435,
    kill=(62, 234),
    prlimit=302,
    setrlimit=160,
)
_AARCH64 = SystemCalls(
    architecture=0xC00000B7,
    denied=(
        *(198, 203, 200, 201, 202, 242, 117, 221, 281, 270, 271, 434, 424, 438, 130, 138, 240, 97, 268, 40, 39, 41, 51),
        *(280, 241, 217, 218, 219, 425, 282, 265, 105, 273, 104),
    ),
    clone=220,
    clone3=435,
    kill=(129, 131),
    prlimit=261,
    setrlimit=164,
)
_KNOWN = {"x86_64": _X86_64, "aarch64": _AARCH64}


def install() -> None:
    """Filter the system calls of this process and of its threads from now on.

    `PR_SET_NO_NEW_PRIVS` must be set. Raises OSError if the system has no such filter, or the processor is not known.
    """
    calls = _KNOWN.get(platform.machine()) if sys.platform == "linux" else None
    if calls is None:
        message = f"no filter of system calls for {sys.platform} on {platform.machine()}"
        raise OSError(message)
    program = list(filter_program(calls, os.getpid()))
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HP", len(program), ctypes.addressof(buffer))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0) != 0:
        code_of_error = ctypes.get_errno()
        raise OSError(code_of_error, os.strerror(code_of_error))


def filter_program(calls: SystemCalls, pid: int) -> Iterator[Instruction]:
    """Yield the filter. Each rule loads what it needs, and either returns or falls through to the next one."""
    yield (_LOAD, 0, 0, _ARCHITECTURE)
    yield (_JUMP_EQUAL, 1, 0, calls.architecture)
    yield _result(_EPERM)
    yield (_LOAD, 0, 0, _NUMBER)
    yield (_JUMP_GREATER_OR_EQUAL, 0, 1, _X32)
    yield _result(_EPERM)
    for number in calls.denied:
        yield (_JUMP_EQUAL, 0, 1, number)
        yield _result(_EPERM)
    # The C library then uses clone, whose flags can be checked here.
    yield (_JUMP_EQUAL, 0, 1, calls.clone3)
    yield _result(_ENOSYS)
    yield (_JUMP_EQUAL, 0, 4, calls.clone)
    yield (_LOAD, 0, 0, _argument(0))
    yield (_JUMP_ANY_BIT, 1, 0, _CLONE_THREAD)
    yield _result(_EPERM)
    yield (_RETURN, 0, 0, _ALLOW)
    for number in calls.kill:
        yield (_JUMP_EQUAL, 0, 4, number)
        yield (_LOAD, 0, 0, _argument(0))
        yield (_JUMP_EQUAL, 1, 0, pid)
        yield _result(_EPERM)
        yield (_RETURN, 0, 0, _ALLOW)
    # Limits may be read. Of the own process, the processor time of the next task may be set.
    yield (_JUMP_EQUAL, 0, 4, calls.setrlimit)
    yield (_LOAD, 0, 0, _argument(0))
    yield (_JUMP_EQUAL, 1, 0, _RLIMIT_CPU)
    yield _result(_EPERM)
    yield (_RETURN, 0, 0, _ALLOW)
    yield (_JUMP_EQUAL, 0, 9, calls.prlimit)
    yield (_LOAD, 0, 0, _argument(0))
    yield (_JUMP_EQUAL, 0, 6, 0)
    yield (_LOAD, 0, 0, _argument(1))
    yield (_JUMP_EQUAL, 5, 0, _RLIMIT_CPU)
    yield (_LOAD, 0, 0, _argument(2))
    yield (_JUMP_EQUAL, 0, 2, 0)
    yield (_LOAD, 0, 0, _argument(2) + 4)
    yield (_JUMP_EQUAL, 1, 0, 0)
    yield _result(_EPERM)
    yield (_RETURN, 0, 0, _ALLOW)


def _argument(number: int) -> int:
    """Return the offset of the lower half of an argument, on the little-endian processors above."""
    return 16 + 8 * number


def _result(error: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)
