"""Random hostile records of every kind, the same ones for a seed."""

import io
import json
import random
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fastavro
from fastavro.utils import generate_one

from schemas import Event
from schemas.event import new_event_id
from streams.codec import Codec
from streams.topics import Catalogue
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested
from tests.support.hostile.raw_producer import RawRecord

VALID_SHARE = 0.1
KEY_COUNT = 50
_NAMES = (
    b"ce_id",
    b"ce_type",
    b"ce_time",
    b"ce_expirytime",
    b"content-type",
    b"traceparent",
    b"streams-handler",
    b"streams-seq",
    b"streams-attempt",
    b"streams-due-at",
    b"streams-first-failed-at",
    b"streams-origin-topic",
    b"streams-origin-partition",
    b"streams-origin-offset",
    b"streams-origin-timestamp",
    b"streams-history",
    b"streams-replays",
    b"streams-unknown-since",
    b"__dlq.errors.topic",
    b"__dlq.errors.partition",
    b"__dlq.errors.offset",
    b"__dlq.errors.reason",
    b"__dlq.errors.handler",
    b"__dlq.errors.died.at",
    b"__dlq.errors.event.id",
    b"__dlq.errors.protection",
)
_TEXTS = (
    b"",
    b"0",
    b"-1",
    b"9" * 30,
    b"9" * 3000,
    b"1e309",
    b"NaN",
    b"\xff\xfe",
    b"try-single",
    b"try-long",
    b"2026-01-01T00:00:00Z",
    b"9999-12-31T23:59:60Z",
    b"0000-00-00",
    b"[" * 5000,
    b'{"a": 1}',
    b"null",
    b"application/vnd.streams.ticket+json",
    b"application/avro",
    b"ffffffff-ffff-7fff-bfff-ffffffffffff",
    "\u202e\u0000\u009b".encode(),
)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema of the registry, as a sender knows it."""

    number: int
    topic: str
    parsed: dict[str, Any]


def registered_schemas(folder: Path, catalogue: Catalogue) -> list[Schema]:
    """Return the schemas of a registry folder, with the cluster's names of their topics."""
    listed = json.loads((folder / "registry.json").read_text())["schemas"]
    return [
        Schema(
            one["id"],
            catalogue.topic(one["subject"].removesuffix("-value")).name,
            _parsed(json.loads((folder / one["file"]).read_text())),
        )
        for one in listed
    ]


class HostileRecords:
    """Yields records of a seed, with the topic that each is for. Valid ones stand between them."""

    def __init__(self, seed: int, codec: Codec, schemas: Sequence[Schema], tiers: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._codec = codec
        self._schemas = schemas
        self._tiers = tiers
        self._now = int(time.time() * 1000)
        self.valid: list[Event] = []
        """The valid events so far, each of its own id."""

    def take(self, count: int) -> Iterator[tuple[str, RawRecord]]:
        """Yield this number of records, each with its topic."""
        kinds = (
            self._random_value,
            self._mutated_value,
            self._random_fields,
            self._ticket,
            self._tombstone,
            self._odd_headers,
            self._many_headers,
            self._forged_headers,
            self._odd_key,
            self._odd_time,
            self._odd_numbers,
            self._in_a_tier,
        )
        for _ in range(count):
            yield self._valid() if self._random.random() < VALID_SHARE else self._random.choice(kinds)()

    def _event(self) -> Event:
        kind = self._random.choice((SingleTrialRequested, SingleTrialRequested, BatchTrialRequested))
        return kind(entity=f"e{self._random.randrange(KEY_COUNT)}", tenant_id=f"t{self._random.randrange(5)}")

    def _encoded(self, event: Event) -> tuple[str, RawRecord]:
        one = self._codec.encode(event)
        headers = [(name.encode(), value) for name, value in one.headers]
        return one.topic, RawRecord(one.value, one.key, headers, self._now)

    def _valid(self) -> tuple[str, RawRecord]:
        event = self._event()
        self.valid.append(event)
        return self._encoded(event)

    def _bytes(self, most: int) -> bytes:
        return self._random.randbytes(self._random.randrange(most))

    def _other(self) -> tuple[str, RawRecord]:
        """Return a valid record whose event is not among the valid ones, to be changed."""
        return self._encoded(self._event())

    def _random_value(self) -> tuple[str, RawRecord]:
        topic, one = self._other()
        schema_id = struct.pack(">I", self._random.randrange(1 << 32))
        start = self._random.choice((b"", b"\0", b"\1", b"\2", b"\0" + schema_id))
        return topic, replace(one, value=start + self._bytes(2_000))

    def _mutated_value(self) -> tuple[str, RawRecord]:
        topic, one = self._encoded(self._event())
        value = bytearray(one.value or b"")
        for _ in range(self._random.randrange(1, 6)):
            at = self._random.randrange(len(value) or 1)
            match self._random.randrange(4):
                case 0 if value:
                    value[at % len(value)] = self._random.randrange(256)
                case 1:
                    del value[at:]
                case 2:
                    value[at:at] = self._bytes(50)
                case _:
                    del value[at : at + self._random.randrange(10)]
        return topic, RawRecord(bytes(value), one.key, one.headers, one.timestamp)

    def _random_fields(self) -> tuple[str, RawRecord]:
        """Return random values of any topic's schema, on its topic or another one."""
        schema = self._random.choice(self._schemas)
        state = random.getstate()
        random.seed(self._random.random())
        fields = dict(generate_one(schema.parsed))
        random.setstate(state)
        for name in fields:
            # Identifiers that handlers look up: mostly of the right form, of rows that do not exist.
            if name == "event_id" or (name.endswith("_id") and self._random.random() < 0.5):
                fields[name] = str(new_event_id())
        value = _encode(schema, fields)
        topic = schema.topic if self._random.random() < 0.9 else self._random.choice(self._schemas).topic
        return topic, RawRecord(value, self._bytes(40), (), self._now)

    def _ticket(self) -> tuple[str, RawRecord]:
        key = self._random.choice(
            (
                "claims/2026/11/28/ffffffff-ffff-7fff-bfff-ffffffffffff",
                "claims/2026-11-28/" + "-" * 36,
                "../../etc/passwd",
                "",
                "claims/" + "a" * 2_000,
            )
        )
        body = {
            "key": key,
            "size": self._random.choice((-1, 0, 10**30, True, 1.5, "7", None)),
            "sha256": self._random.choice(("0" * 64, "", None, 7)),
        }
        text = self._random.choice((json.dumps(body).encode(), b"[" * 5_000, b"{" + self._bytes(200), b"null"))
        topic, one = self._other()
        return topic, replace(one, value=b"\2" + text)

    def _tombstone(self) -> tuple[str, RawRecord]:
        topic, one = self._other()
        return topic, replace(one, value=None, key=self._random.choice((None, b"", self._bytes(40))))

    def _odd_headers(self) -> tuple[str, RawRecord]:
        topic, one = self._other()
        names = (self._bytes(20), b"\xff\xfe", b"", self._random.choice(_NAMES))
        values = (None, b"", self._bytes(300), *_TEXTS)
        headers = [(self._random.choice(names), self._random.choice(values)) for _ in range(6)]
        return topic, replace(one, headers=headers)

    def _many_headers(self) -> tuple[str, RawRecord]:
        topic, one = self._other()
        headers = [*one.headers, (b"streams-seq", self._random.choice(_TEXTS))]
        match self._random.randrange(20):
            case 0:
                headers += [(b"h", b"v")] * 3_000
            case 1:
                headers.append((self._bytes(30), self._random.randbytes(60_000)))
        return topic, replace(one, headers=headers)

    def _forged_headers(self) -> tuple[str, RawRecord]:
        topic, one = self._other()
        forged = {name: self._random.choice(_TEXTS) for name in self._random.sample(_NAMES, 5)}
        return topic, replace(one, headers=[*(pair for pair in one.headers if pair[0] not in forged), *forged.items()])

    def _odd_key(self) -> tuple[str, RawRecord]:
        topic, one = self._other()
        keys = (None, b"", self._bytes(200), self._random.randbytes(20_000))
        return topic, replace(one, key=self._random.choice(keys))

    def _odd_time(self) -> tuple[str, RawRecord]:
        topic, one = self._other()
        return topic, replace(one, timestamp=self._random.choice((0, 1, self._now - 10**10, self._now + 60_000)))

    def _odd_numbers(self) -> tuple[str, RawRecord]:
        """Return events that are valid Avro with values that their handlers may stumble over."""
        event = self._random.choice(
            (
                SingleTrialRequested(entity="\u0000", tenant_id="\ud800".encode("utf-16", "surrogatepass").hex()),
                SingleTrialRequested(entity="e", seconds=float("nan")),
                BatchTrialRequested(entity="x" * 5_000, tenant_id="t" * 3_000),
                SingleTrialRequested(entity="e", plan="null", times=2**31),
                LongTrialRequested(entity="e" * 300),
            )
        )
        return self._encoded(event)

    def _in_a_tier(self) -> tuple[str, RawRecord]:
        _, one = self._random.choice((self._other, self._random_fields))()
        headers = [(name, self._random.choice(_TEXTS)) for name in self._random.sample(_NAMES, 10)]
        return self._random.choice(self._tiers), replace(one, headers=headers)


def _parsed(schema: dict[str, Any]) -> dict[str, Any]:
    found = fastavro.parse_schema(schema)
    assert isinstance(found, dict)
    return found


def _encode(schema: Schema, fields: object) -> bytes:
    buffer = io.BytesIO(b"\0" + struct.pack(">I", schema.number))
    buffer.seek(5)
    fastavro.schemaless_writer(buffer, schema.parsed, fields)
    return buffer.getvalue()
