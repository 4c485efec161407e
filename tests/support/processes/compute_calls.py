"""Functions that run in compute processes: what a hole in a library could try. Without pytest, to be imported fast."""

import ctypes
import fcntl
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path


def eat(mebibytes: int) -> int:
    return len(bytearray(mebibytes << 20))


def loop() -> None:
    while True:
        pass


def environment(name: str) -> list[str]:
    """Return the command lines of the processes whose environment has a variable, of all that may be asked."""
    found = ["own"] if name in os.environ else []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{name}=".encode() in environment:
            found.append(command)
    return found


def read_file(path: str) -> bytes:
    return Path(path).read_bytes()[:100]


def connect() -> None:
    socket.create_connection(("127.0.0.1", 9), timeout=1)


def start_program() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def start_process() -> None:
    if os.fork() == 0:
        os._exit(0)


def kill_parent() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def kill_by_a_socket(pid: int) -> None:
    """Make a process the owner of a socket, with SIGKILL as the signal that something can be read."""
    one, other = socket.socketpair()
    fcntl.fcntl(one, fcntl.F_SETOWN, pid)
    fcntl.fcntl(one, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC)
    other.send(b"x")


def kill_by_an_owner(pid: int) -> None:
    """Do the same with F_SETOWN_EX: the owner is a structure with a type (1, a process) and an id."""
    one, other = socket.socketpair()
    fcntl.fcntl(one, 15, struct.pack("ii", 1, pid))
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC)
    other.send(b"x")


def end_by_an_ioctl(pid: int) -> None:
    """Do the same with FIOSETOWN and FIOASYNC: the owner gets SIGIO, which ends it."""
    one, other = socket.socketpair()
    fcntl.ioctl(one, 0x8901, struct.pack("i", pid))
    fcntl.ioctl(one, 0x5452, struct.pack("i", 1))
    other.send(b"x")


def slow_down(pid: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, 19)


def take_processors(pid: int) -> None:
    os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})


def compare(pid: int) -> None:
    """Compare the memory of two processes with kcmp (x86_64: 312, aarch64: 272)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall({"x86_64": 312, "aarch64": 272}[os.uname().machine], os.getpid(), pid, 1, 0, 0) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def send_datagram(path: str) -> None:
    """Send to a socket of another process, from a datagram socket that needed neither socket() nor connect()."""
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"x", path)


def own_settings() -> str:
    """Do what libraries do to their own process and descriptors."""
    one, other = socket.socketpair()
    one.settimeout(0)
    fcntl.fcntl(other, fcntl.F_SETFL, fcntl.fcntl(other, fcntl.F_GETFL) | os.O_NONBLOCK)
    fcntl.fcntl(other, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    os.sched_setaffinity(os.getpid(), os.sched_getaffinity(0))
    os.setpriority(os.PRIO_PROCESS, 0, os.nice(1))
    os.isatty(0)
    return "done"


def start_thread() -> str:
    said: list[str] = []
    thread = threading.Thread(target=said.append, args=("ran",))
    thread.start()
    thread.join()
    return said[0]


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def exit_at_once() -> None:
    sys.exit(3)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def write_as_the_process() -> None:
    """Write something else than an answer to every socket of the process."""
    for descriptor in range(3, 32):
        with suppress(OSError):
            os.write(descriptor, b"\0" * 7 + b"\x05" + b"\x80cos\n" * 3)


def keep_too_much() -> None:
    """End as a process that kept too much memory before the call."""
    os._exit(87)


def close_and_loop() -> None:
    """Close all sockets, and go on."""
    os.closerange(3, 64)
    loop()


def large() -> bytes:
    return bytes(40 << 20)


def begin_and_loop(path: Path) -> None:
    path.touch()
    loop()


def complain() -> int:
    """Warn and log in the ways of libraries: with loggers and handlers of their own, and as an error at the end."""
    warnings.warn("a warning of Python", stacklevel=1)
    own = logging.getLogger("a.library")
    own.setLevel(logging.DEBUG)
    own.warning("a font %s", {"a": "text of the file"})
    logging.getLogger("jieba").warning("a warning with a handler of its own")
    own.error("broken\nin two lines")
    return 1
