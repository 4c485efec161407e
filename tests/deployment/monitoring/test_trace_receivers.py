"""Receivers of traces: over gRPC, away, and silent. A worker without its receiver loses spans and nothing else."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from streams.settings import Settings
from tests.support.apps.trials import SingleTrialRequested
from tests.support.fakes.otlp_receiver import Protocol, open_receiver
from tests.support.processes.worker_process import Streams, WorkerProcess, free_port, publish, scalar, wait_for
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
SECTION = "Traces"
EVENTS = 60
DONE = "select count(*) from streams.executions where status = 'success'"
Workers = Callable[..., WorkerProcess]


@pytest.mark.requirement(SECTION, "OTLP over gRPC")
def test_spans_arrive_over_grpc(trial: Settings, worker: Workers) -> None:
    """The sender is not traced. Its attempt is the child of the span that the header names."""
    with open_receiver("grpc") as receiver:
        running = worker(**receiver.environment).start()
        event = SingleTrialRequested(entity="g")
        publish(trial, [event])
        wait_for(lambda: receiver.named("process", event.event_id), "the span")
        (done,) = receiver.named("process", event.event_id)
        assert (done.attributes["streams.outcome"], len(done.parent_id)) == ("success", 16)
        assert running.stop() == 0


@pytest.mark.requirement(SECTION, "a receiver that is away or hangs costs nothing but its spans")
@pytest.mark.parametrize("otlp", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("silent", [False, True])
def test_a_worker_without_its_receiver_goes_on(
    otlp: Protocol, *, silent: bool, trial: Settings, engine: Engine, worker: Workers
) -> None:
    """Every event is handled, and the worker ends within the time of its drain, although no span can be sent."""
    with open_receiver(otlp, silent=True) as receiver:
        endpoint = receiver.endpoint if silent else f"http://127.0.0.1:{free_port()}"
        running = worker(**{**receiver.environment, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}).start()
        assert publish(trial, [SingleTrialRequested(entity=f"e{number}") for number in range(EVENTS)]) == EVENTS
        wait_for(lambda: scalar(engine, DONE) == EVENTS, "every event", 60)
        began = time.monotonic()
        assert running.stop(within=20) == 0
        assert time.monotonic() - began < 15


@pytest.mark.requirement(SECTION, "a wrong OTLP endpoint or template: one clear line at start")
@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"), ("STREAMS_TRACE_URL", "https://traces/{id}")],
)
def test_a_wrong_setting_is_one_line(name: str, value: str, environment: dict[str, str], worker: Workers) -> None:
    """A worker and a command that publishes both end with one line that names the variable."""
    running = worker(**{name: value}).start(ready=False)
    assert running.wait(60) != 0
    (line,) = [line for line in running.output().splitlines() if name in line]
    assert "Traceback" not in running.output()
    command = Streams({**environment, name: value})
    done = command.run("publish", "trial.single-requested", '{"entity": "e"}')
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert name in done.stderr
    assert name in line
