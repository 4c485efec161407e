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
_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1
_PR_SCHED_CORE = 62
_AF_UNIX = 1
_ANY_DATAGRAM = 2
"""The bit that SOCK_STREAM and SOCK_SEQPACKET lack. A datagram socket of a pair can send to every other Unix socket."""
_F_SETFL, _O_ASYNC = 4, 0x2000
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
_TIOCSPGRP, _TIOCSTI, _TIOCSWINSZ, _TIOCLINUX, _FIOASYNC, _TIOCSIG = 0x5410, 0x5412, 0x5414, 0x541C, 0x5452, 0x40045436
_FIOSETOWN, _SIOCSPGRP = 0x8901, 0x8902

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
    scheduling: Sequence[int]
    """Their first argument is a process id. Only the own one and 0, the calling thread, are allowed."""
    setpriority: int
    ioprio_set: int
    prctl: int
    fcntl: int
    ioctl: int
    socketpair: int
    prlimit: int
    setrlimit: int


# The order of names: socket, connect, bind, listen, accept, accept4, ptrace, execve, execveat, process_vm_readv,
# process_vm_writev, pidfd_open, pidfd_send_signal, pidfd_getfd, tkill, rt_sigqueueinfo, rt_tgsigqueueinfo, unshare,
# setns, mount, umount2, pivot_root, chroot, bpf, perf_event_open, add_key, request_key, keyctl, io_uring_setup,
# userfaultfd, open_by_handle_at, init_module, finit_module, kexec_load, kcmp, get_robust_list, migrate_pages,
# move_pages, process_madvise, process_mrelease, shmget, shmat, shmctl, semget, semop, semctl, semtimedop, msgget,
# msgsnd, msgrcv, msgctl, mq_open, mq_unlink; on x86_64 also fork and vfork.
# The order of names in `scheduling`: sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr.
_X86_64 = SystemCalls(
    architecture=0xC000003E,
    denied=(
        *(41, 42, 49, 50, 43, 288, 101, 59, 322, 310, 311, 434, 424, 438, 200, 129, 297, 272, 308, 165, 166, 155, 161),
        *(321, 298, 248, 249, 250, 425, 323, 304, 175, 313, 246, 312, 274, 256, 279, 440, 448, 29, 30, 31, 64, 65, 66),
        *(220, 68, 69, 70, 71, 240, 241, 57, 58),
    ),
    clone=56,
    clone3=435,
    kill=(62, 234),
    scheduling=(142, 144, 203, 314),
    setpriority=141,
    ioprio_set=251,
    prctl=157,
    fcntl=72,
    ioctl=16,
    socketpair=53,
    prlimit=302,
    setrlimit=160,
)
_AARCH64 = SystemCalls(
    architecture=0xC00000B7,
    denied=(
        *(198, 203, 200, 201, 202, 242, 117, 221, 281, 270, 271, 434, 424, 438, 130, 138, 240, 97, 268, 40, 39, 41, 51),
        *(280, 241, 217, 218, 219, 425, 282, 265, 105, 273, 104, 272, 100, 238, 239, 440, 448, 194, 196, 195, 190, 193),
        *(191, 192, 186, 189, 188, 187, 180, 181),
    ),
    clone=220,
    clone3=435,
    kill=(129, 131),
    scheduling=(118, 119, 122, 274),
    setpriority=140,
    ioprio_set=30,
    prctl=167,
    fcntl=25,
    ioctl=29,
    socketpair=199,
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
    yield from _signals(calls)
    yield from _scheduling(calls, pid)
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


def _signals(calls: SystemCalls) -> Iterator[Instruction]:
    """Yield the rules for descriptors: no signal to the owner of a file, no input for a terminal, no datagrams."""
    yield (_JUMP_EQUAL, 0, 9, calls.fcntl)
    yield (_LOAD, 0, 0, _argument(1))
    yield (_JUMP_EQUAL, 6, 0, _F_SETOWN)
    yield (_JUMP_EQUAL, 5, 0, _F_SETSIG)
    yield (_JUMP_EQUAL, 4, 0, _F_SETOWN_EX)
    yield (_JUMP_EQUAL, 0, 2, _F_SETFL)
    yield (_LOAD, 0, 0, _argument(2))
    yield (_JUMP_ANY_BIT, 1, 0, _O_ASYNC)
    yield (_RETURN, 0, 0, _ALLOW)
    yield _result(_EPERM)
    requests = (_FIOSETOWN, _SIOCSPGRP, _FIOASYNC, _TIOCSPGRP, _TIOCSTI, _TIOCSWINSZ, _TIOCLINUX, _TIOCSIG)
    yield from _denied_values(calls.ioctl, 1, requests)
    yield (_JUMP_EQUAL, 0, 6, calls.socketpair)
    yield (_LOAD, 0, 0, _argument(0))
    yield (_JUMP_EQUAL, 0, 3, _AF_UNIX)
    yield (_LOAD, 0, 0, _argument(1))
    yield (_JUMP_ANY_BIT, 1, 0, _ANY_DATAGRAM)
    yield (_RETURN, 0, 0, _ALLOW)
    yield _result(_EPERM)


def _scheduling(calls: SystemCalls, pid: int) -> Iterator[Instruction]:
    """Yield the rules for priorities and processors: those of other processes cannot be changed."""
    for number in calls.scheduling:
        yield (_JUMP_EQUAL, 0, 5, number)
        yield (_LOAD, 0, 0, _argument(0))
        yield (_JUMP_EQUAL, 2, 0, 0)
        yield (_JUMP_EQUAL, 1, 0, pid)
        yield _result(_EPERM)
        yield (_RETURN, 0, 0, _ALLOW)
    for number, one_process in ((calls.setpriority, _PRIO_PROCESS), (calls.ioprio_set, _IOPRIO_WHO_PROCESS)):
        yield (_JUMP_EQUAL, 0, 7, number)
        yield (_LOAD, 0, 0, _argument(0))
        yield (_JUMP_EQUAL, 0, 3, one_process)
        yield (_LOAD, 0, 0, _argument(1))
        yield (_JUMP_EQUAL, 2, 0, 0)
        yield (_JUMP_EQUAL, 1, 0, pid)
        yield _result(_EPERM)
        yield (_RETURN, 0, 0, _ALLOW)
    yield from _denied_values(calls.prctl, 0, (_PR_SCHED_CORE,))


def _denied_values(number: int, argument: int, values: Sequence[int]) -> Iterator[Instruction]:
    """Yield a rule that refuses some values of the lower half of an argument: the kernel reads only this half."""
    yield (_JUMP_EQUAL, 0, len(values) + 3, number)
    yield (_LOAD, 0, 0, _argument(argument))
    for place, value in enumerate(values):
        yield (_JUMP_EQUAL, len(values) - place, 0, value)
    yield (_RETURN, 0, 0, _ALLOW)
    yield _result(_EPERM)


def _argument(number: int) -> int:
    """Return the offset of the lower half of an argument, on the little-endian processors above."""
    return 16 + 8 * number


def _result(error: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)
