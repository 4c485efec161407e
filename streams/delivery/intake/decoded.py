"""The results of decoding records."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from schemas import Event
from streams.codec.claim_check import Ticket
from streams.delivery.dead_letter import UnreadableRecord
from streams.delivery.delivery import Delivery
from streams.delivery.handler import Handler
from streams.transport.kafka.records import Chunk, Record


@dataclass(frozen=True, slots=True)
class Rerouted:
    """A retry record for another tier: its topic has moved to another pool, or its handler is not known yet."""

    record: Record
    tier: str
    due_at: int
    unknown_since: int | None = None
    moved_at: int | None = None
    wait: float = 0.0
    """Seconds to wait before it is forwarded."""


@dataclass(frozen=True, slots=True)
class MissingPayload:
    """A retry record without its event: its ticket, or the result of loading the payload."""

    why: "Ticket | Literal['done', 'unavailable']"
    handler: Handler[Event]


@dataclass(slots=True)
class DecodedChunk:
    """The decoded records of a chunk of an event topic, in their order."""

    deliveries: list[Delivery] = field(default_factory=list)
    unreadable: list[UnreadableRecord] = field(default_factory=list)
    tickets: dict[int, Ticket] = field(default_factory=dict)
    """By offset: payloads that must be loaded from the storage. Then the chunk is decoded again with them."""
    unavailable: list[Record] = field(default_factory=list)
    """Records whose payload cannot be loaded now."""

    def add_without_event(
        self, chunk: Chunk, record: Record, read: "UnreadableRecord | Ticket | Literal['done', 'unavailable']"
    ) -> None:
        """Add a record with a ticket whose event is not available now."""
        if isinstance(read, UnreadableRecord):
            self.unreadable.append(read)
        elif isinstance(read, Ticket):
            self.tickets[record.offset] = read
        elif read == "unavailable":
            self.unavailable.append(record)
        else:
            chunk.settle(record.offset)


DecodedRecord: TypeAlias = "Delivery | UnreadableRecord | Rerouted | MissingPayload"
"""The result of decoding a record of a retry tier."""
