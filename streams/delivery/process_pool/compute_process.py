"""One compute process: reads requests from its socket, runs them one after the other, and writes the answers."""

import struct
import time
from socket import MSG_WAITALL, socket

from streams.delivery.process_pool.confinement import confine, die_with_parent, limit_processor_time, memory_used
from streams.delivery.process_pool.plain_data import decode_request, encode_error, encode_result

LENGTH = struct.Struct("!Q")
"""Before each request: its length in bytes."""
ANSWER = struct.Struct("!Qd")
"""Before each answer: its length in bytes, and the processor time of the call in seconds."""
OUT_OF_MEMORY = 86
"""Exit code of a process that ran out of memory."""
KEEPS_TOO_MUCH = 87
"""Exit code of a process that kept too much memory after its tasks. Another process runs the next task."""
_MAX_KEPT_BYTES_PER_MIB = 3 << 18
"""Bytes per MiB of its limit that a process may keep from one task to the next: three quarters."""


def run(descriptor: int, parent: int, memory: int | None, *, filtered: bool) -> int:
    """Answer requests until the worker closes the socket. Returns the exit code.

    A process that ran out of memory ends, since its next tasks would fail too. A process that kept three quarters of
    its memory after earlier tasks ends before the next one.

    Args:
        descriptor: The socket.
        parent: The id of the process that it ends with.
        memory: MiB of heap that tasks may use; None: no limit.
        filtered: Whether to filter system calls.
    """
    die_with_parent(parent)
    worker = socket(fileno=descriptor)
    at_start = confine(memory, filtered=filtered)
    while True:
        head = worker.recv(LENGTH.size, MSG_WAITALL)
        if len(head) < LENGTH.size:
            return 0
        body = worker.recv(LENGTH.unpack(head)[0], MSG_WAITALL)
        if memory is not None and memory_used() - at_start > memory * _MAX_KEPT_BYTES_PER_MIB:
            return KEEPS_TOO_MUCH
        began = time.process_time()
        try:
            answer = _answer(body)
        except MemoryError:
            return OUT_OF_MEMORY
        worker.sendall(ANSWER.pack(len(answer), time.process_time() - began))
        worker.sendall(answer)


def _answer(body: bytes) -> bytes:
    """Run a request. Returns the bytes of its result or its error. Raises MemoryError."""
    try:
        request = decode_request(body)
        limit_processor_time(request.processor_seconds)
        return encode_result(request.function, request.function(*request.args, **request.kwargs))
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - also what would end the process is the call's own failure
        return encode_error(error)
