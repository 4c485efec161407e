"""The level of a worker's log: at start, and changed while the worker runs."""

import asyncio
import json
from collections.abc import Callable

import pytest
from aiohttp.test_utils import make_mocked_request

from streams.runtime.web.pages import is_local
from tests.support.processes.worker_process import WorkerProcess, wait_for

MakeWorker = Callable[..., WorkerProcess]


def level_page(one: WorkerProcess) -> tuple[int, object]:
    status, body = one.page("/log-level")
    return status, json.loads(body)


@pytest.mark.requirement("Bad input", "a wrong level is one clear line at start, and a non-zero exit code")
def test_a_wrong_level_is_one_line(worker: MakeWorker) -> None:
    one = worker(STREAMS_LOG_LEVEL="loud").start(ready=False)
    assert one.wait(60) != 0
    (line,) = [line for line in one.output().splitlines() if "STREAMS_LOG_LEVEL" in line]
    assert "'debug', 'info', 'warning' or 'error'" in line
    assert "Traceback" not in one.output()


@pytest.mark.requirement("Logs", "the level changes at run time without a restart")
@pytest.mark.usefixtures("topics")
def test_the_level_of_a_running_worker_changes(worker: MakeWorker) -> None:
    """By a POST from this machine. A wrong level and a request through a proxy change nothing."""
    one = worker(STREAMS_POOLS="high").start()
    assert level_page(one) == (200, {"level": "info"})
    assert one.post("/log-level", "loud")[0] == 400
    assert one.post("/log-level", "debug", Origin="https://example.org")[0] == 403
    assert not [line for line in one.lines() if line["level"] == "debug"]
    assert one.post("/log-level", "debug")[0] == 200
    wait_for(lambda: [line for line in one.lines() if line["level"] == "debug"], "lines of the level debug")
    assert level_page(one) == (200, {"level": "debug"})
    (changed,) = [line for line in one.lines() if line["message"] == "log level changed"]
    assert (changed["level"], changed["before"], changed["log_level"]) == ("warning", "info", "debug")
    assert one.stop() == 0


class Peer(asyncio.Transport):
    """The transport of a request from an address."""

    def __init__(self, peer: object) -> None:
        super().__init__({"peername": peer})


@pytest.mark.parametrize(
    ("peer", "header", "local"),
    [
        (("127.0.0.1", 4), None, True),
        (("::1", 4, 0, 0), None, True),
        (("::ffff:127.0.0.1", 4, 0, 0), None, True),
        (("10.0.0.7", 4), None, False),
        (("fe80::1%eth0", 4, 0, 0), None, False),
        (("::ffff:10.0.0.7", 4, 0, 0), None, False),
        (None, None, False),
        (("127.0.0.1", 4), "Origin", False),
        (("127.0.0.1", 4), "X-Forwarded-For", False),
        (("127.0.0.1", 4), "forwarded", False),
    ],
)
def test_only_this_machine_may_change_the_level(peer: object, header: str | None, local: bool) -> None:  # noqa: FBT001 - a case
    """Wherever the pages listen. What a proxy passed on, or a browser sends for another site, is not from here."""
    headers = {} if header is None else {header: "x"}
    request = make_mocked_request("POST", "/log-level", headers=headers, transport=Peer(peer))
    assert is_local(request) is local
