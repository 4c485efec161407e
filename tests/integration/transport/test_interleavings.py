"""The cases of the model in tests/unit/transport/test_interleavings.py, on real brokers with the real poll loop.

Two members of one group join and leave while records are settled in random order, some of them after their partition
was revoked. At no time may an offset be committed past a record that its owner did not settle in time. In the end, all
records are settled, and the group's offsets are the ends of the partitions.
"""

import asyncio
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from streams.settings import Settings
from streams.transport.kafka.group import Group
from streams.transport.kafka.poll_loop import PollLoop
from streams.transport.kafka.records import Assignment, Chunk

PARTITIONS, STEPS, PATIENCE = 3, 60, 40.0
Place = tuple[int, int]
"""The partition and the offset."""


@dataclass
class Member:
    """A consumer of the group, its unsettled records, and those that it settled while it owned them."""

    settings: Settings
    group: Group
    in_time: set[Place]
    hands: list[tuple[Chunk, int]] = field(default_factory=list)
    deaths: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine = PollLoop(self.group, self.settings, self, on_chunk=self.take, on_failure=self.deaths.append)
        self.engine.start()

    def take(self, chunk: Chunk) -> None:
        self.hands += [(chunk, record.offset) for record in chunk.records]

    def settle(self, chosen: Collection[tuple[Chunk, int]]) -> None:
        for chunk, offset in chosen:
            if not chunk.assignment.revoked:
                self.in_time.add((chunk.partition, offset))
            chunk.settle(offset)
        self.hands = [held for held in self.hands if held not in set(chosen)]

    def on_assigned(self, assignments: Collection[Assignment]) -> None: ...

    async def on_revoking(self, assignments: Collection[Assignment]) -> None: ...

    def on_revoked(self, assignments: Collection[Assignment]) -> None: ...

    async def drain(self) -> None: ...


@dataclass
class Play:
    """The topic, its group and the members of the group."""

    settings: Settings
    topic: str
    in_time: set[Place] = field(default_factory=set)
    members: list[Member] = field(default_factory=list)
    gone: list[Member] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0] * PARTITIONS)

    def __post_init__(self) -> None:
        self.group = Group("high", f"{self.topic}-group", (self.topic,))
        self.producer = Producer({"bootstrap.servers": self.settings.kafka_bootstrap_servers})
        self.watcher = Consumer(
            {"bootstrap.servers": self.settings.kafka_bootstrap_servers, "group.id": self.group.group_id}
        )

    def produce(self, count: int) -> None:
        for number in range(count):
            place = number % PARTITIONS
            self.producer.produce(self.topic, b"x", partition=place)
            self.ends[place] += 1
        assert self.producer.flush(20) == 0

    async def committed(self) -> list[int]:
        places = [TopicPartition(self.topic, number) for number in range(PARTITIONS)]
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            try:
                found = await asyncio.to_thread(self.watcher.committed, places, 10)
            except KafkaException as error:
                # Brokers that have never seen a group have no coordinator for it at first.
                if not error.args[0].retriable() or asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.1)
            else:
                return [max(0, place.offset) for place in found]

    async def check(self) -> None:
        """Nothing is committed past an unsettled record. Read before the commits, since they only grow."""
        for partition, offset in enumerate(await self.committed()):
            missing = {(partition, before) for before in range(offset)} - self.in_time
            assert not missing, f"committed {offset}, though {sorted(missing)[:5]} were never settled in time"

    async def leave(self, member: Member) -> None:
        self.members.remove(member)
        assert await member.engine.close(15)
        self.gone.append(member)

    async def settle_the_rest(self) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while await self.committed() != self.ends:
            for member in self.members:
                member.settle(list(member.hands))
            assert asyncio.get_running_loop().time() < deadline, f"{await self.committed()} of {self.ends}"
            await asyncio.sleep(0.1)


@pytest.mark.requirement("Faults and operations", "the same on real brokers, both protocols")
@pytest.mark.parametrize("protocol", ["cooperative", "consumer"])
async def test_any_interleaving_commits_what_is_settled_and_no_more(
    settings: Settings, make_topic: Callable[[str, int], None], protocol: str
) -> None:
    chance = random.Random(f"interleaving {protocol}")
    topic = f"{settings.topic_prefix}interleaved"
    make_topic(topic, PARTITIONS)
    play = Play(settings.model_copy(update={"group_protocol": protocol, "revoke_drain_timeout": 0.5}), topic)
    try:
        for _ in range(STEPS):
            await step(play, chance)
        play.members = play.members or [Member(play.settings, play.group, play.in_time)]
        await play.settle_the_rest()
        await play.check()
        assert not [death for member in (*play.members, *play.gone) for death in member.deaths]
    finally:
        for member in play.members:
            await member.engine.close(15)
        play.watcher.close()


async def step(play: Play, chance: random.Random) -> None:
    """One random step, then a check of the commits."""
    what = chance.choices(["produce", "settle", "late", "join", "leave", "wait"], [4, 8, 2, 1, 1, 2])[0]
    if what == "produce":
        play.produce(chance.randint(1, 40))
    elif what in {"settle", "late"}:
        for member in play.members if what == "settle" else play.gone:
            member.settle(chance.sample(member.hands, chance.randint(0, len(member.hands))))
    elif what == "join" and len(play.members) < 2:
        play.members.append(Member(play.settings, play.group, play.in_time))
    elif what == "leave" and play.members:
        await play.leave(chance.choice(play.members))
    elif what == "wait":
        await asyncio.sleep(0.3)
    await play.check()
