"""Stores the value of a dead letter that Kafka rejects, as large events are stored, and returns its ticket."""

import asyncio
from uuid import UUID, uuid5

from schemas.event import with_time
from streams.codec.claim_check import ClaimCheck
from streams.delivery.delivery import origin_of
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.storage import StorageAwayError
from streams.transport.kafka.records import Record

log = get_logger(__name__)
NAMESPACE = UUID("0f0b2a8e-6c0e-5d0b-9a57-3b6c2f9d1e44")


def payload_id(record: Record, died_at: int) -> UUID:
    """Return the id of a stored value: a UUIDv7 that is the same for each try, and no event's id.

    Args:
        record: The record of an event topic or a retry tier.
        died_at: ms since the epoch. Its day decides how long the value is kept.
    """
    origin = origin_of(record)
    return with_time(uuid5(NAMESPACE, f"{origin.topic}:{origin.partition}:{origin.offset}"), died_at)


async def store_value(claims: ClaimCheck | None, record: Record, value: bytes | None, died_at: int) -> bytes | None:
    """Return the ticket of a stored value; None: there is no storage, or it may not have this value.

    Args:
        claims: The storage.
        record: Whose value it is.
        value: What a DLQ may have of the record's value.
        died_at: ms since the epoch.

    Raises:
        StorageAwayError: The storage does not answer.
    """
    if claims is None or value is None:
        return None
    try:
        ticket = await asyncio.to_thread(claims.put, payload_id(record, died_at), value)
    except StorageAwayError:
        raise
    except Exception as error:  # noqa: BLE001 - too large, or not possible: the dead letter goes without its value
        log.warning("cannot store the value of a dead letter; it stays at its origin only", error=message(error))
        return None
    return ticket.value
