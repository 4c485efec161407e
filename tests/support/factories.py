"""Creates events, records and deliveries for unit tests, with default values for all fields."""

from schemas import DocumentDeleted, Event, MessageCreated
from streams.delivery.delivery import Delivery, PendingRecord
from streams.delivery.handler import Handler
from streams.delivery.work import Work
from streams.headers import Headers
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from streams.transport.kafka.records import Assignment, Chunk, Record

SETTINGS = Settings()
CATALOGUE = Catalogue(BUILT_IN, SETTINGS)


async def do_nothing(event: Event, work: Work) -> None:
    """A handler's function."""


def a_handler(name: str = "clean-document", kind: str = "single", **policy: object) -> Handler[Event]:
    return Handler(name=name, event=DocumentDeleted, function=do_nothing, kind=kind, **policy)  # type: ignore[arg-type]


def an_event(document: str = "d1", tenant: str | None = "t1") -> DocumentDeleted:
    return DocumentDeleted(tenant_id=tenant, document_id=document, dataset_id="s1", doc_form="text_model")


def make_message(**fields: object) -> MessageCreated:
    known: dict[str, object] = {
        "tenant_id": "t1",
        "message_id": "m1",
        "app_id": "a1",
        "provider_name": "openai",
        "model": "gpt-4",
        "provider_type": "system",
        "quota_type": "trial",
        "quota_unit": "tokens",
        "quota_limit": 1000,
        "message_tokens": 10,
        "answer_tokens": 20,
    }
    return MessageCreated.model_validate({**known, **fields})


def a_record(
    offset: int = 0,
    *,
    topic: str = "document.deleted",
    partition: int = 0,
    key: bytes | None = b"d1",
    value: bytes | None = b"value",
    headers: Headers = (),
    timestamp: int = 1_700_000_000_000,
) -> Record:
    return Record(topic, partition, offset, timestamp, "CreateTime", key, value, headers)


def a_delivery(
    document: str = "d1",
    *,
    offset: int = 0,
    tenant: str | None = "t1",
    topic: str = "document.deleted",
    partition: int = 0,
    handler: Handler[Event] | None = None,
    assignment: Assignment | None = None,
    headers: Headers = (),
    seq: int = 0,
    attempts: int = 0,
    timestamp: int = 1_700_000_000_000,
) -> Delivery:
    record = a_record(
        offset, topic=topic, partition=partition, key=document.encode(), headers=headers, timestamp=timestamp
    )
    chunk = Chunk(assignment or Assignment(topic, partition), [record])
    return Delivery(
        an_event(document, tenant),
        handler or a_handler(),
        CATALOGUE.topic("document.deleted"),
        record,
        PendingRecord(chunk, offset, 1),
        seq=seq,
        attempts=attempts,
    )
