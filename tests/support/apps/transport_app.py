"""A worker for the transport's tests, which logs every record that it settles. Run it as `faust -A ...:app worker`.

Environment variables:
    TEST_TOPICS: Topics, separated by commas. Each has its own group, `<topic>-group`.
    TEST_ONE_GROUP: Not empty: the group of the first topic has all of them.
    TEST_AGENTS: Topics with an agent. Default: all.
    TEST_HIGH, TEST_LOW: The watermarks of the groups, in records.
    TEST_LOG: The log file, with one JSON line per settled record.
    TEST_SLOW: Seconds that a slow record takes.

The value of a record decides how it is handled: `slow…` takes TEST_SLOW seconds, `gate…` waits until the file `open`
exists in the folder of the log, `hold…` is never settled, `raise…` raises in the agent, others are settled at once.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Collection
from pathlib import Path

from faust.types import StreamT
from faust.web import Request, Response, View

from streams.settings import load_settings
from streams.transport.faust.app import StreamsApp
from streams.transport.faust.consumer import Consumer
from streams.transport.kafka.group import Group
from streams.transport.kafka.records import Assignment, Chunk, Record

TOPICS = tuple(os.environ["TEST_TOPICS"].split(","))
AGENTS = tuple(name for name in os.environ.get("TEST_AGENTS", os.environ["TEST_TOPICS"]).split(",") if name)
SLOW = float(os.environ.get("TEST_SLOW", "0"))
LOG = Path(os.environ["TEST_LOG"])
WORKER = os.environ.get("TEST_WORKER", "")
GATE = LOG.with_name("open")


class RecordWorker:
    """Handles records concurrently, as the delivery does: a slow record does not delay the others."""

    def __init__(self) -> None:
        self.running: dict[asyncio.Task[None], Assignment] = {}
        self.revoked_while_running: list[asyncio.Task[None]] = []
        self.log = LOG.open("a", buffering=1)

    def handle(self, chunk: Chunk) -> None:
        for record in chunk.records:
            value = record.value or b""
            if value.startswith(b"raise"):
                message = "an error of the agent"
                raise ValueError(message)
            if value.startswith(b"hold"):
                self.log_record("held", record)
            elif value.startswith((b"slow", b"gate")):
                task = asyncio.create_task(self.work(chunk, record))
                self.running[task] = chunk.assignment
                task.add_done_callback(lambda done: self.running.pop(done, None))
            else:
                self.settle(chunk, record)

    async def work(self, chunk: Chunk, record: Record) -> None:
        self.log_record("started", record)
        if (record.value or b"").startswith(b"slow"):
            await asyncio.sleep(SLOW)
        else:
            while not GATE.exists():  # noqa: ASYNC110 - the test's process opens it
                await asyncio.sleep(0.02)
        self.settle(chunk, record)

    def settle(self, chunk: Chunk, record: Record) -> None:
        self.log_record("late" if chunk.assignment.revoked else "settled", record)
        chunk.settle(record.offset)

    def log_record(self, what: str, record: Record) -> None:
        value = (record.value or b"").decode()
        line = {"what": what, "worker": WORKER, "at": time.time(), "topic": record.topic}
        self.log.write(
            json.dumps(line | {"partition": record.partition, "offset": record.offset, "value": value}) + "\n"
        )

    def log_event(self, what: str, assignments: Collection[Assignment] = ()) -> None:
        places = sorted([one.topic, one.partition] for one in assignments)
        self.log.write(json.dumps({"what": what, "worker": WORKER, "at": time.time(), "places": places}) + "\n")

    def on_assigned(self, assignments: Collection[Assignment]) -> None:
        self.log_event("assigned", assignments)

    async def on_revoking(self, assignments: Collection[Assignment]) -> None:
        revoked = set(assignments)
        running = [task for task, assignment in self.running.items() if assignment in revoked]
        if running:
            await asyncio.wait(running)

    def on_revoked(self, assignments: Collection[Assignment]) -> None:
        """Do not stop late work, so that the fence rejects its settlement."""
        self.log_event("revoked", assignments)

    async def drain(self) -> None:
        self.log_event("draining")
        if self.running:
            await asyncio.wait(list(self.running))


record_worker = RecordWorker()


def group_of(name: str, topics: tuple[str, ...]) -> Group:
    return Group(
        name,
        f"{name}-group",
        topics,
        high=int(os.environ.get("TEST_HIGH", "4000")),
        low=int(os.environ.get("TEST_LOW", "1000")),
    )


app = StreamsApp(
    load_settings(),
    groups=(
        (group_of(TOPICS[0], TOPICS),)
        if os.environ.get("TEST_ONE_GROUP")
        else tuple(group_of(name, (name,)) for name in TOPICS)
    ),
    listener=record_worker,
)


def make_agent(name: str) -> None:
    async def read(stream: StreamT[Chunk]) -> None:
        async for chunk in stream:
            record_worker.handle(chunk)

    app.agent(app.topic(name, value_serializer="raw"), name=name)(read)


for topic_name in AGENTS:
    make_agent(topic_name)


@app.timer(interval=0.2)  # type: ignore[untyped-decorator]  # Faust leaves it untyped
async def tick() -> None:
    record_worker.log_event("tick")


@app.page("/state")
class State(View):
    async def get(self, request: Request) -> Response:  # noqa: ARG002 - Faust's signature
        consumer = app.consumer
        assert isinstance(consumer, Consumer)
        return self.json(
            {
                "assigned": consumer.assigned(),
                "stalled": consumer.stalled(),
                "lag": [
                    {
                        "topic": one.topic,
                        "partition": one.partition,
                        "current": one.current_offset,
                        "end": one.end_offset,
                    }
                    for one in consumer.lag()
                ],
                "activity": [
                    {
                        "owned": one.owned,
                        "paused": one.paused,
                        "late": one.late,
                        "lost": one.lost,
                        "deleted_unread": dict(one.deleted_unread),
                        "unreadable": dict(one.unreadable),
                    }
                    for one in consumer.activity()
                ],
            }
        )


@app.command()
async def hello() -> None:
    sys.stdout.write("hello from a command\n")
