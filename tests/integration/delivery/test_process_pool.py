"""A file that loops or uses too much memory fails its own attempt. The worker and other attempts continue.

What runs in a compute process has no secrets, no network and no other processes.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from benchmarks.pdf_bytes import FONT, Stream, pdf_bytes
from streams.delivery.errors import ComputeCrashedError, OutOfMemoryError, ProcessorTimeExceededError
from streams.delivery.process_pool import TASKS_PER_PROCESS, ComputePool
from streams.delivery.process_pool.confinement import hide_memory
from streams.dify.extraction import Extracted, extract
from tests.support.platform.document_files import pdf
from tests.support.processes import compute_calls as calls
from tests.support.processes.memory_hog import leak

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"


@pytest.fixture
async def pool() -> AsyncIterator[ComputePool]:
    made = ComputePool(1, preload=["streams.dify.extraction"], memory=256)
    yield made
    await made.close()


async def _read(pool: ComputePool) -> Extracted:
    return await pool.run(extract, (pdf("Still here"), "pdf", DOCUMENT), {}, seconds=30)


@pytest.mark.requirement("Extraction", "a loop, too much memory")
async def test_memory_is_bounded(pool: ComputePool) -> None:
    """Above the limit the attempt fails with the name of the setting, and the next file is read."""
    assert await pool.run(calls.eat, (32,), {}, seconds=30) == 32 << 20

    with pytest.raises(OutOfMemoryError, match=r"eat needs more than 256 MiB of memory.*STREAMS_COMPUTE_MEMORY"):
        await pool.run(calls.eat, (512,), {}, seconds=30)

    assert (await _read(pool)).text == "Still here"


@pytest.mark.requirement("Extraction", "a loop, too much memory")
async def test_a_pdf_that_needs_too_much_memory_fails_alone(pool: ComputePool) -> None:
    """Its content draws itself twice, without an end. PDFium ends the process, and the next file is read."""
    tree = (b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[4 0 R]/Count 1>>", FONT)
    resources = b"/Resources<</XObject<</X 6 0 R>>>>"
    shown = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]%s/Contents 5 0 R>>" % resources
    itself = Stream(b"/X Do /X Do", b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]" + resources)
    endless = pdf_bytes([*tree, shown, Stream(b"/X Do"), itself])

    with pytest.raises(ComputeCrashedError, match=r"as it does without memory: 256 MiB.*STREAMS_COMPUTE_MEMORY"):
        await pool.run(extract, (endless, "pdf", DOCUMENT), {}, seconds=60)

    assert (await _read(pool)).text == "Still here"


@pytest.mark.requirement("Extraction", "a loop, too much memory")
async def test_a_loop_is_killed(pool: ComputePool) -> None:
    """It is killed at its time limit, and a new process reads the next file."""
    await _read(pool)
    started = asyncio.get_running_loop().time()

    with pytest.raises(TimeoutError):
        await pool.run(calls.loop, (), {}, seconds=0.5)

    assert asyncio.get_running_loop().time() - started < 10
    assert (await _read(pool)).text == "Still here"


@pytest.mark.requirement("Logs and metrics", "processor time and memory of the worker and of its compute processes")
async def test_the_processor_time_of_each_call_is_known_however_it_ends(pool: ComputePool) -> None:
    """A call that returns, one that is killed at its time limit, and one that the kernel kills."""
    used: list[float] = []
    await pool.run(calls.spin, (0.3,), {}, seconds=30, on_used=used.append)
    with pytest.raises(TimeoutError):
        await pool.run(calls.loop, (), {}, seconds=1.0, on_used=used.append)
    with pytest.raises(ProcessorTimeExceededError):
        await pool.run(calls.loop, (), {}, seconds=60, processor_seconds=0.5, on_used=used.append)
    assert used[0] == pytest.approx(0.3, abs=0.05)
    assert 0.1 <= used[1] <= 1.1
    assert 0.5 <= used[2] <= 2.1
    async with asyncio.timeout(10):
        while pool.usage().processor_seconds < sum(used) - 0.05:  # noqa: ASYNC110 - the kernel's clock ticks
            await asyncio.sleep(0.02)
    found = pool.usage()
    assert found.processor_seconds <= sum(used) + 1
    await _read(pool)
    assert pool.usage().processes >= 1
    assert pool.usage().memory_bytes > 1 << 20


@pytest.mark.requirement("Faults and operations", "killable processes replaced after 50 tasks, and at a memory bound")
async def test_a_process_that_keeps_too_much_is_replaced() -> None:
    """A leak must not fail the next attempt: above three quarters of the limit, another process runs it."""
    pool = ComputePool(1, preload=["streams.dify.extraction"], memory=512)
    try:
        ran = [await pool.run(leak, (150,), {}, seconds=30) for _ in range(4)]
    finally:
        await pool.close()
    assert ran == [1, 2, 3, 1]


@pytest.mark.requirement("Faults and operations", "killable processes replaced after 50 tasks, and at a memory bound")
async def test_a_process_is_replaced_after_so_many_tasks(pool: ComputePool) -> None:
    ran = [await pool.run(os.getpid, (), {}, seconds=30) for _ in range(TASKS_PER_PROCESS * 2)]
    assert len(set(ran)) in {2, 3}
    assert max(ran.count(one) for one in set(ran)) <= TASKS_PER_PROCESS


@pytest.mark.requirement("Faults of others", "M7: compute processes have no secrets in their environment")
async def test_the_secrets_of_the_worker_are_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither their own environment nor that of the fork server has them, and the worker's memory cannot be read."""
    name = f"STREAMS_SECRET_{uuid4().hex}"
    monkeypatch.setenv(name, "secret")
    hide_memory()
    pool = ComputePool(1)
    try:
        assert await pool.run(os.getenv, (name,), {}, seconds=30) is None
        assert not await pool.run(calls.environment, (name,), {}, seconds=30)
        for file in ("environ", "mem"):
            with pytest.raises(PermissionError):
                await pool.run(calls.read_file, (f"/proc/{os.getpid()}/{file}",), {}, seconds=30)
    finally:
        await pool.close()


@pytest.mark.requirement("Faults of others", "M7: compute processes have no network and start no programs")
async def test_a_process_reaches_nothing_else(pool: ComputePool) -> None:
    """The kernel refuses network, programs, processes and signals to others. The process goes on; threads may start."""
    for function in (calls.connect, calls.start_program, calls.start_process, calls.kill_parent):
        with pytest.raises(PermissionError, match="Operation not permitted"):
            await pool.run(function, (), {}, seconds=60)
    assert await pool.run(calls.start_thread, (), {}, seconds=60) == "ran"


@pytest.mark.requirement("Faults of others", "M7: compute processes have no network and start no programs")
async def test_a_process_sends_no_signal_to_another_one(pool: ComputePool, tmp_path: Path) -> None:
    """Not by the owner of a descriptor either. Nor does it slow another process down, or send datagrams to it."""
    other = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        for function in (
            *(calls.kill_by_a_socket, calls.kill_by_an_owner, calls.end_by_an_ioctl),
            *(calls.slow_down, calls.take_processors, calls.compare),
        ):
            with pytest.raises(PermissionError, match="Operation not permitted"):
                await pool.run(function, (other.pid,), {}, seconds=60)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(str(tmp_path / "socket"))
            with pytest.raises(PermissionError, match="Operation not permitted"):
                await pool.run(calls.send_datagram, (str(tmp_path / "socket"),), {}, seconds=60)
        assert await pool.run(calls.own_settings, (), {}, seconds=60) == "done"
        assert other.returncode is None
    finally:
        other.kill()
        await other.wait()


@pytest.mark.requirement("Faults of others", "M7: compute processes have no network and start no programs")
async def test_an_operator_may_leave_them_unconfined() -> None:
    """STREAMS_COMPUTE_CONFINED=false is for handlers that start programs."""
    pool = ComputePool(1, confined=False)
    try:
        await pool.run(calls.start_program, (), {}, seconds=60)
    finally:
        await pool.close()


@pytest.mark.requirement("Faults of others", "H4: reading a file has a limit of processor time, by its size")
async def test_processor_time_is_bounded(pool: ComputePool) -> None:
    """A call that uses more is killed. Waiting does not count, and neither do the calls before."""
    await _read(pool)
    with pytest.raises(ProcessorTimeExceededError, match="loop needs more than 1 s of processor time"):
        await pool.run(calls.loop, (), {}, seconds=60, processor_seconds=1)
    for _ in range(3):
        await pool.run(calls.spin, (0.8,), {}, seconds=60, processor_seconds=1)
    await pool.run(time.sleep, (2.5,), {}, seconds=60, processor_seconds=1)


@pytest.mark.requirement("Faults of others", "H4: a tenant holds at most part of the compute processes")
async def test_a_tenant_cannot_hold_all_processes(pool: ComputePool) -> None:
    """While the calls of tenant a loop, those of b run. A cancelled call is killed, and the next of a starts."""
    await pool.started()
    looping = [asyncio.create_task(pool.run(calls.loop, (), {}, seconds=60, tenant="a")) for _ in range(3)]
    await asyncio.sleep(0)
    assert await pool.run(sum, ([1, 2],), {}, seconds=60, tenant="b") == 3
    assert not any(task.done() for task in looping)
    for task in looping:
        task.cancel()
    await asyncio.gather(*looping, return_exceptions=True)
    assert await pool.run(sum, ([1, 2],), {}, seconds=60, tenant="a") == 3


@pytest.mark.requirement("Faults of others", "M7: results of compute processes are plain data")
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (calls.exit_at_once, "SystemExit: 3"),
        (calls.crash, "the process that ran crash ended with exit code -11"),
        (calls.write_as_the_process, "the process returned more than one result"),
        (calls.keep_too_much, "ended with exit code 87"),
        (calls.close_and_loop, "ended with exit code -9"),
        (calls.large, "the result has 40 MiB; 32 MiB are allowed"),
    ],
)
async def test_a_process_fails_its_own_call_only(
    pool: ComputePool, function: Callable[..., object], message: str
) -> None:
    """Whatever it does or writes, the worker and the next call go on."""
    with pytest.raises(ComputeCrashedError, match=message):
        await pool.run(function, (), {}, seconds=60)
    assert (await _read(pool)).text == "Still here"


async def test_a_fork_server_that_was_killed_is_replaced(pool: ComputePool, tmp_path: Path) -> None:
    """Its processes die with it. The call that ran fails, the next one runs."""
    server = await pool.run(os.getppid, (), {}, seconds=60)
    running = asyncio.create_task(pool.run(calls.begin_and_loop, (tmp_path / "begun",), {}, seconds=60))
    async with asyncio.timeout(60):
        while not (tmp_path / "begun").exists():  # noqa: ASYNC110 - another process makes the file
            await asyncio.sleep(0.01)
    os.kill(server, signal.SIGKILL)
    with pytest.raises(ComputeCrashedError):
        await running
    assert await pool.run(os.getppid, (), {}, seconds=60) != server


async def test_a_server_that_cannot_start_fails_the_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker starts it with its first call. The next call starts it again."""
    pool = ComputePool(1)
    try:
        with monkeypatch.context() as broken:
            broken.setattr(sys, "executable", "/bin/false")
            with pytest.raises(ComputeCrashedError, match="server of the compute processes ended with exit code 1"):
                await pool.run(sum, ([1, 2],), {}, seconds=60)
        assert await pool.run(sum, ([1, 2],), {}, seconds=60) == 3
    finally:
        await pool.close()


@pytest.mark.requirement("Extraction", "libraries' warnings about a file are not in the log")
async def test_compute_processes_log_errors_only_and_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    """A warning would quote the file. An error is one line in the format of the worker."""
    pool = ComputePool(1, preload=["jieba"], log_format="json")
    try:
        assert await pool.run(calls.complain, (), {}, seconds=30) == 1
    finally:
        await pool.close()

    (line,) = capfd.readouterr().err.splitlines()
    shown = json.loads(line)
    assert {name: shown[name] for name in ("level", "logger", "message")} == {
        "level": "error",
        "logger": "a.library",
        "message": "broken\nin two lines",
    }


async def test_a_fork_server_that_cannot_start_says_so_in_one_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that raises while it is loaded ends the program. The traceback is a field of the line."""
    (tmp_path / "breaks_at_import.py").write_text("raise ValueError('no\\ngood')")
    monkeypatch.syspath_prepend(tmp_path)
    pool = ComputePool(1, preload=["breaks_at_import"], log_format="json")
    try:
        with pytest.raises(ComputeCrashedError, match="its error is above"):
            await pool.run(calls.complain, (), {}, seconds=30)
    finally:
        await pool.close()

    (line,) = capfd.readouterr().err.splitlines()
    shown = json.loads(line)
    assert (shown["message"], shown["error_type"]) == ("compute process crashed", "ValueError")
    assert "breaks_at_import" in shown["stack"]
