"""A worker for the transport's tests: it writes down every record that it settles. Run as `faust -A ...:app worker`.

Environment: TEST_TOPICS (comma; each in a group of its own, `<topic>-group`), TEST_AGENTS (topics with an agent, all by
default), TEST_HIGH and TEST_LOW (the groups' bounds), TEST_LOG (file, one JSON line a settled record), TEST_SLOW
(seconds). A record's value says what becomes of it: `slow…` takes TEST_SLOW, `gate…` lasts until the file `open` is
beside the log, `hold…` is never settled, `raise…` raises in the agent, any other is settled at once.
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
GATE = LOG.with_name("open")


class Desk:
    """Works on records side by side, as the delivery does; a slow one does not hold the others."""

    def __init__(self) -> None:
        self.running: dict[asyncio.Task[None], Assignment] = {}
        self.revoked_while_running: list[asyncio.Task[None]] = []
        self.log = LOG.open("a", buffering=1)

    def take(self, chunk: Chunk) -> None:
        for record in chunk.records:
            value = record.value or b""
            if value.startswith(b"raise"):
                message = "an agent's own fault"
                raise ValueError(message)
            if value.startswith(b"hold"):
                self.note("held", record)
            elif value.startswith((b"slow", b"gate")):
                task = asyncio.create_task(self.work(chunk, record))
                self.running[task] = chunk.assignment
                task.add_done_callback(lambda done: self.running.pop(done, None))
            else:
                self.settle(chunk, record)

    async def work(self, chunk: Chunk, record: Record) -> None:
        self.note("started", record)
        if (record.value or b"").startswith(b"slow"):
            await asyncio.sleep(SLOW)
        else:
            while not GATE.exists():  # noqa: ASYNC110 - the test's process opens it
                await asyncio.sleep(0.02)
        self.settle(chunk, record)

    def settle(self, chunk: Chunk, record: Record) -> None:
        self.note("late" if chunk.assignment.revoked else "settled", record)
        chunk.settle(record.offset)

    def note(self, what: str, record: Record) -> None:
        value = (record.value or b"").decode()
        line = {"what": what, "pid": os.getpid(), "at": time.time(), "topic": record.topic}
        self.log.write(
            json.dumps(line | {"partition": record.partition, "offset": record.offset, "value": value}) + "\n"
        )

    def say(self, what: str, assignments: Collection[Assignment] = ()) -> None:
        places = sorted([one.topic, one.partition] for one in assignments)
        self.log.write(json.dumps({"what": what, "pid": os.getpid(), "at": time.time(), "places": places}) + "\n")

    def on_assigned(self, assignments: Collection[Assignment]) -> None:
        self.say("assigned", assignments)

    async def on_revoking(self, assignments: Collection[Assignment]) -> None:
        mine = set(assignments)
        running = [task for task, assignment in self.running.items() if assignment in mine]
        if running:
            await asyncio.wait(running)

    def on_revoked(self, assignments: Collection[Assignment]) -> None:
        """Let late work go on, so that its settlement meets the fence."""
        self.say("revoked", assignments)

    async def drain(self) -> None:
        self.say("draining")
        if self.running:
            await asyncio.wait(list(self.running))


desk = Desk()
app = StreamsApp(
    load_settings(),
    groups=tuple(
        Group(
            name,
            f"{name}-group",
            (name,),
            high=int(os.environ.get("TEST_HIGH", "4000")),
            low=int(os.environ.get("TEST_LOW", "1000")),
        )
        for name in TOPICS
    ),
    listener=desk,
)


def make_agent(name: str) -> None:
    async def read(stream: StreamT[Chunk]) -> None:
        async for chunk in stream:
            desk.take(chunk)

    app.agent(app.topic(name, value_serializer="raw"), name=name)(read)


for topic_name in AGENTS:
    make_agent(topic_name)


@app.timer(interval=0.2)  # type: ignore[untyped-decorator]  # Faust leaves it untyped
async def tick() -> None:
    desk.say("tick")


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
                    {"owned": one.owned, "paused": one.paused, "late": one.late, "lost": one.lost}
                    for one in consumer.activity()
                ],
            }
        )


@app.command()
async def hello() -> None:
    sys.stdout.write("hello from a command\n")
