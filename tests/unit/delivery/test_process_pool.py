"""The decisions of the compute pool without processes: turns, environment, filter, results."""

import asyncio
import json
import os
import pickle
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.errors import ComputeCrashedError, Permanent
from streams.delivery.process_pool import seccomp
from streams.delivery.process_pool.confinement import clean_environment
from streams.delivery.process_pool.plain_data import (
    Request,
    decode_answer,
    decode_request,
    encode_error,
    encode_request,
    encode_result,
)
from streams.delivery.process_pool.turns import SPARE, Turns, next_turn
from streams.dify.errors import BusyError, ExtractionError

FAULT = "Faults of others"
TENANTS = st.sampled_from("abc")


@dataclass(frozen=True)
class Report:
    name: str
    raw: bytes


class Row(NamedTuple):
    number: int
    reports: tuple[Report, ...]


def _rows() -> list[Row]:
    return []


def _undeclared():  # type: ignore[no-untyped-def]  # noqa: ANN202 - a handler's own function may look so
    return []


def _numbers() -> list[float]:
    return []


def _object() -> pickle.Pickler:
    raise AssertionError


@pytest.mark.requirement(FAULT, "H4: a tenant holds at most part of the compute processes")
@given(st.lists(TENANTS), st.dictionaries(TENANTS, st.integers(0, 3)), st.integers(1, 3))
def test_no_tenant_gets_more_than_its_part(waiting: Sequence[str], running: dict[str, int], processes: int) -> None:
    """Whoever comes next, a tenant has its number of calls at most, and all tenants one more. Nobody waits in vain."""
    index = next_turn(waiting, running, processes)
    free = sum(running.values()) < processes + SPARE
    if index is None:
        assert not free or all(running.get(tenant, 0) >= processes for tenant in waiting)
    else:
        assert free
        assert running.get(waiting[index], 0) < processes
        assert waiting[index] not in waiting[:index]


@pytest.mark.requirement(FAULT, "H4: a tenant holds at most part of the compute processes")
async def test_another_tenant_does_not_wait_for_long_calls() -> None:
    """Tenant a holds its processes with calls that do not end. Those of b start, and end, one after the other."""
    turns, order = Turns(2), []
    ending = asyncio.Event()

    async def call(tenant: str, until: asyncio.Event | None = None) -> None:
        async with turns.turn(tenant):
            order.append(tenant)
            if until is not None:
                await until.wait()

    long = [asyncio.create_task(call("a", ending)) for _ in range(4)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await asyncio.gather(*(call("b") for _ in range(3)))
    assert order == ["a", "a", "b", "b", "b"]
    long[3].cancel()
    ending.set()
    await asyncio.wait(long)
    assert order == ["a", "a", "b", "b", "b", "a"]
    async with asyncio.timeout(5):
        await asyncio.gather(*(call("a") for _ in range(3)))


@pytest.mark.requirement(FAULT, "H4: a tenant holds at most part of the compute processes")
async def test_cancelled_calls_leave_their_place() -> None:
    """Also if a place becomes free in the same moment. Afterwards all places are free again."""
    turns = Turns(1)
    release = asyncio.Event()

    async def call(tenant: str) -> None:
        async with turns.turn(tenant):
            await release.wait()

    running = [asyncio.create_task(call(tenant)) for tenant in "ab"]
    waiting = [asyncio.create_task(call(tenant)) for tenant in "abab"]
    await asyncio.sleep(0)
    release.set()
    for task in waiting:
        task.cancel()
    results = await asyncio.gather(*running, *waiting, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 2 + [asyncio.CancelledError] * 4
    async with asyncio.timeout(5), turns.turn("a"), turns.turn("b"):
        pass


@pytest.mark.requirement(FAULT, "M7: compute processes have no secrets in their environment")
def test_only_harmless_variables_are_passed() -> None:
    """What is not on the list is not passed, so a secret with an unknown name is not either."""
    passed = {"PATH": "/bin", "LC_ALL": "C", "PYTHONPATH": "x", "OMP_NUM_THREADS": "1", "TMPDIR": "/tmp"}  # noqa: S108
    kept = {"STREAMS_DATABASE_URL": "s", "AWS_SECRET_ACCESS_KEY": "s", "PGPASSWORD": "s", "OPENAI_API_KEY": "s"}
    assert clean_environment({**passed, **kept}) == passed


@pytest.mark.requirement(FAULT, "M7: results of compute processes are plain data")
@pytest.mark.parametrize(
    ("function", "value"),
    [
        (_rows, [Row(1, (Report("ä", b"\x00\xff"),)), Row(2, ())]),
        (_numbers, [1.5, float("inf"), 0.1 + 0.2]),
        (_undeclared, {"a": [1, None, "x", True]}),
        (_undeclared, b"\x80bytes"),
    ],
)
def test_results_keep_their_values_and_types(function: Callable[..., object], value: object) -> None:
    """They are read by the type that the function declares; bytes stay as they are."""
    assert decode_answer(function, encode_result(function, value)) == value


@pytest.mark.requirement(FAULT, "M7: results of compute processes are plain data")
@pytest.mark.parametrize(
    "answer",
    [
        pickle.dumps([]),
        b"",
        b"J",
        b"Jnull",
        b'J[[["x", 1]]]',
        b"J" + b"[" * 100_000,
        b"E[]",
        b"E" + b"[" * 100_000,
        b'E{"module": "os", "name": "system", "args": ["true"], "state": {}, "traceback": ""}',
        b'E{"module": "not.loaded", "name": "X", "args": [], "state": {}, "traceback": ""}',
    ],
)
def test_other_answers_are_the_failure_of_the_call(answer: bytes) -> None:
    """Nothing that a process sends is unpickled, imported or called."""
    with pytest.raises(ComputeCrashedError):
        decode_answer(_rows, answer)


@pytest.mark.requirement(FAULT, "M7: results of compute processes are plain data")
@pytest.mark.parametrize(
    "error", [ExtractionError("damaged"), ValueError("a", 1), KeyError("x"), BusyError("busy", 3.5), Permanent("no")]
)
def test_errors_keep_their_class_and_message(error: Exception) -> None:
    """The traceback of the process is a note of the error."""
    with pytest.raises(type(error)) as raised:
        raise error
    answer = encode_error(raised.value)
    with pytest.raises(type(error)) as caught:
        decode_answer(_rows, answer)
    assert (str(caught.value), caught.value.args) == (str(error), error.args)
    assert vars(error).items() <= vars(caught.value).items()
    assert "test_errors_keep_their_class_and_message" in caught.value.__notes__[0]


@pytest.mark.requirement(FAULT, "M7: results of compute processes are plain data")
@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_would_end_the_worker_is_the_failure_of_the_call(ending: BaseException) -> None:
    """`sys.exit()` in a compute process is an error of its attempt."""
    with pytest.raises(ComputeCrashedError, match=type(ending).__name__):
        decode_answer(_rows, encode_error(ending))


@pytest.mark.requirement(FAULT, "M7: results of compute processes are plain data")
def test_a_result_that_is_no_plain_data_is_an_error() -> None:
    """The message names the function, and what it should return."""
    with pytest.raises(TypeError, match=r"_object returns .*Pickler.* no plain data; return str, bytes"):
        encode_result(_object, object())
    with pytest.raises(TypeError, match="the result of _undeclared is no plain data"):
        encode_result(_undeclared, object())
    with pytest.raises(TypeError, match="the result of _rows is no plain data"):
        encode_result(_rows, "text")


def test_requests_are_read_as_they_were_written() -> None:
    request = Request(len, ("abc",), {"key": 1}, 2.5)
    assert decode_request(encode_request(request)) == request


def _decide(program: Sequence[seccomp.Instruction], number: int, args: Sequence[int], machine: int) -> int:
    """Interpret a filter as the kernel does. Returns the error number, 0: allowed."""
    data = struct.pack("=IIQ6Q", number, machine, 0, *args, *[0] * (6 - len(args)))
    place = value = 0
    while True:
        code, if_true, if_false, operand = program[place]
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
            place += 1
        elif code == 0x06:
            return operand & 0xFFFF if operand != 0x7FFF0000 else 0
        else:
            held = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
            place += 1 + (if_true if held else if_false)


@pytest.mark.requirement(FAULT, "M7: compute processes have no network and start no programs")
@pytest.mark.parametrize("calls", [seccomp._X86_64, seccomp._AARCH64])
def test_the_filter_denies_what_leaves_the_process(calls: seccomp.SystemCalls) -> None:
    """Network, programs, processes, other processes' memory and signals are denied; threads and reading are not."""
    program = list(seccomp.filter_program(calls, pid=77))

    def decide(number: int, *args: int, machine: int = calls.architecture) -> int:
        return _decide(program, number, args, machine)

    assert {decide(number) for number in calls.denied} == {1}
    assert len(program) < 4096
    assert decide(0) == decide(1) == 0
    assert decide(0, machine=0) == 1
    assert decide(0x40000000 | 41) == 1
    assert decide(calls.clone3) == 38
    assert (decide(calls.clone, 0x3D0F00), decide(calls.clone, 0x11)) == (0, 1)
    assert {(decide(number, 77), decide(number, 78), decide(number, 0)) for number in calls.kill} == {(0, 1, 1)}
    assert (decide(calls.setrlimit, 0), decide(calls.setrlimit, 2)) == (0, 1)
    assert (decide(calls.prlimit, 0, 2, 0), decide(calls.prlimit, 0, 0, 99), decide(calls.prlimit, 0, 2, 99)) == (
        0,
        0,
        1,
    )
    assert (decide(calls.prlimit, 5, 0, 99), decide(calls.prlimit, 0, 2, 1 << 32)) == (1, 1)


@pytest.mark.requirement(FAULT, "M7: compute processes have no network and start no programs")
@pytest.mark.parametrize("calls", [seccomp._X86_64, seccomp._AARCH64])
def test_the_filter_denies_signals_and_datagrams_by_descriptors(calls: seccomp.SystemCalls) -> None:
    """Only the lower half of a command counts, as for the kernel. Flags and pairs of streams are allowed."""
    program = list(seccomp.filter_program(calls, pid=77))

    def decide(number: int, *args: int) -> int:
        return _decide(program, number, args, calls.architecture)

    for high in (0, 1 << 32):
        assert {decide(calls.fcntl, 3, high | command, 78) for command in (8, 10, 15)} == {1}
        assert {decide(calls.ioctl, 3, high | request) for request in (0x8901, 0x8902, 0x5452, 0x5412, 0x541C)} == {1}
    assert (decide(calls.fcntl, 3, 4, os.O_ASYNC), decide(calls.fcntl, 3, 4, os.O_NONBLOCK)) == (1, 0)
    assert {decide(calls.fcntl, 3, command, os.O_ASYNC) for command in (0, 1, 2, 3, 6, 9, 1030)} == {0}
    assert {decide(calls.ioctl, 3, request) for request in (0x5401, 0x5413, 0x5421, 0x8903)} == {0}
    stream, datagram, raw, packets = 1, 2, 3, 5
    assert {decide(calls.socketpair, 1, kind | 0x80800) for kind in (stream, packets)} == {0}
    assert {decide(calls.socketpair, 1, kind | 0x80800) for kind in (datagram, raw)} == {1}
    assert decide(calls.socketpair, 30, stream) == 1


@pytest.mark.requirement(FAULT, "M7: compute processes have no network and start no programs")
@pytest.mark.parametrize("calls", [seccomp._X86_64, seccomp._AARCH64])
def test_the_filter_denies_priorities_and_processors_of_others(calls: seccomp.SystemCalls) -> None:
    program = list(seccomp.filter_program(calls, pid=77))

    def decide(number: int, *args: int) -> int:
        return _decide(program, number, args, calls.architecture)

    for number in calls.scheduling:
        assert (decide(number, 0), decide(number, 77), decide(number, 78)) == (0, 0, 1)
    for number, process in ((calls.setpriority, 0), (calls.ioprio_set, 1)):
        assert [decide(number, process, pid) for pid in (0, 77, 78)] == [0, 0, 1]
        assert {decide(number, group, 0) for group in (process + 1, process + 2)} == {1}
    assert (decide(calls.prctl, 62), decide(calls.prctl, 1), decide(calls.prctl, 15)) == (1, 0, 0)


def test_answers_are_json() -> None:
    """Other tools can read them."""
    assert json.loads(encode_result(_numbers, [1.0])[1:]) == [[1.0]]
