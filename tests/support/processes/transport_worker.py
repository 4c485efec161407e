"""Runs `faust worker` processes of the transport's test app, and reads their log."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.local_stack.stack import Stack
from tests.support.processes.preloaded import BIN, commands_folder, kill
from tests.support.processes.worker_process import ROOT, free_port, wait_for

APP = "tests.support.apps.transport_app:app"
COORDINATOR_SECONDS = 10.0
NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
"""What a broker answers about the first group of a new cluster, while it creates the topic of offsets."""


@dataclass
class Worker:
    """A worker process. The workers of a scene share one log, whose lines have the worker's name."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path
    name: str
    folder: Path
    """Of the command."""

    def text(self) -> str:
        return self.output.read_text()

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=5) as response:
            found = json.load(response)
        assert isinstance(found, dict)
        return found

    def terminate(self, seconds: float = 15) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        kill(self.process, self.folder)

    def wait(self, seconds: float = 15) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the worker did not end in {seconds} s:\n{self.text()}") from None


@dataclass
class Scene:
    """A topic, a group, and the workers on them."""

    stack: Stack
    folder: Path
    partitions: int = 2
    topic: str = ""
    """Created with a new name."""
    workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.topic = f"{self.stack.fresh_name()}.transport"
        admin = AdminClient({"bootstrap.servers": self.servers})
        admin.create_topics([NewTopic(self.topic, self.partitions, 1)])[self.topic].result(10)
        self.log = self.folder / "log.jsonl"
        self.log.touch()

    @property
    def group(self) -> str:
        return f"{self.topic}-group"

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        return {
            **os.environ,
            **self.stack.environment,
            "PYTHONPATH": str(ROOT),
            "TEST_TOPICS": self.topic,
            "TEST_LOG": str(self.log),
            **extra,
        }

    def start(self, **extra: str) -> Worker:
        port = free_port()
        name = f"worker-{len(self.workers)}"
        output = self.folder / f"{name}.txt"
        folder = commands_folder()
        with output.open("wb") as file:
            process = subprocess.Popen(
                [folder / "faust", "-A", APP, "worker", "-l", "info"],
                cwd=ROOT,
                env=self.environment({"STREAMS_WEB_PORT": str(port), "TEST_WORKER": name, **extra}),
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        worker = Worker(process, port, output, name, folder)
        self.workers.append(worker)
        return worker

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `faust -A <the app> …`. `communicate` returns its output.

        It is not preloaded: Faust reads the commands of an app while it is imported.
        """
        return subprocess.Popen(
            [BIN / "faust", "-A", APP, *arguments],
            cwd=ROOT,
            env=self.environment({}),
            stdout=subprocess.PIPE,
            text=True,
        )

    def open_gate(self) -> None:
        (self.folder / "open").touch()

    def produce(self, values: list[str], partition: int | None = None) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        for number, value in enumerate(values):
            place = number % self.partitions if partition is None else partition
            producer.produce(self.topic, value.encode(), partition=place)
        assert producer.flush(20) == 0

    @property
    def servers(self) -> str:
        return self.stack.environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]

    def committed(self) -> list[int]:
        """Return the group's committed offset of each partition; -1001 if there is none."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": self.group})
        try:
            places = [TopicPartition(self.topic, number) for number in range(self.partitions)]
            deadline = time.monotonic() + COORDINATOR_SECONDS
            while True:
                try:
                    return [place.offset for place in consumer.committed(places, timeout=10)]
                except KafkaException as error:
                    if error.args[0].code() not in NO_COORDINATOR_YET or time.monotonic() > deadline:
                        raise
                time.sleep(0.1)
        finally:
            consumer.close()

    def lines(self, what: str, worker: Worker | None = None) -> list[dict[str, Any]]:
        text = self.log.read_text()
        found = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [line for line in found if line["what"] == what and (worker is None or line["worker"] == worker.name)]

    def settled(self, worker: Worker | None = None) -> Counter[str]:
        return Counter(line["value"] for line in self.lines("settled", worker))

    def wait_assigned(self, *workers: Worker, seconds: float = 20) -> None:
        """Wait until the workers share all partitions, each with at least one."""

        def shared() -> bool:
            owned = [sum(one["owned"] for one in worker.state()["activity"]) for worker in workers]
            return all(owned) and sum(owned) == self.partitions

        for worker in workers:
            wait_for(partial(self._ticked, worker), f"the worker is up: {worker.output}", seconds)
        wait_for(shared, "the workers share the partitions", seconds)

    def _ticked(self, worker: Worker) -> bool:
        assert worker.process.poll() is None, worker.text()
        return bool(self.lines("tick", worker))

    def end(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
