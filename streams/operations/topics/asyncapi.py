"""Describes the topics of a deployment as an AsyncAPI 3 document, with the Avro schemas of their events."""

from collections.abc import Iterable, Mapping, Sequence
from inspect import getdoc

from schemas import Event
from schemas.registry import FileRegistry, RegisteredSchema, RegistryError
from streams import headers
from streams.codec.event_codec import CONTENT_TYPE
from streams.delivery import Handler
from streams.durations import format_duration
from streams.topics import Catalogue, Topic

VERSION = "3.0.0"
KAFKA_BINDING = "0.5.0"
AVRO = "application/vnd.apache.avro+json;version=1.9.0"
HEADERS: Mapping[str, str] = {
    headers.CE_SPECVERSION: "The version of CloudEvents",
    headers.CE_ID: "The event's id",
    headers.CE_TYPE: "The event's topic",
    headers.CE_SOURCE: "The sender",
    headers.CE_TIME: "When the event happened",
    headers.CE_SUBJECT: "The record's key",
    headers.CE_EXPIRYTIME: "No attempt starts at or after this time",
    headers.CONTENT_TYPE: "The format of the value",
    headers.TRACEPARENT: "W3C trace context",
}
"""The headers of an event. All are UTF-8 text."""
REQUIRED = (headers.CE_SPECVERSION, headers.CE_ID, headers.CE_TYPE, headers.CE_SOURCE, headers.CE_TIME)

JSONObject = dict[str, object]


def asyncapi_document(
    catalogue: Catalogue, handlers: Sequence[Handler[Event]], registry: FileRegistry, *, version: str
) -> JSONObject:
    """Return the document: one channel per topic, one operation per topic that has a handler.

    Args:
        catalogue: The topics.
        handlers: The handlers of the deployment.
        registry: The schemas of the events.
        version: The version of the pipeline, for the document's `info`.

    Raises:
        RegistryError: An event has no schema in the registry.
    """
    handled = {topic.name: [one for one in handlers if one.event is topic.event] for topic in catalogue}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Events of the platform",
            "version": version,
            "description": "Each topic has the events of one class. `receive` is what the workers do with them. "
            "A topic without an operation has no handler: it is an extension point.",
        },
        "defaultContentType": CONTENT_TYPE[1].decode(),
        "channels": {topic.name: _channel(topic, catalogue) for topic in catalogue},
        "operations": {
            f"receive {topic.name}": _operation(topic, catalogue, handled[topic.name])
            for topic in catalogue
            if handled[topic.name]
        },
        "components": {
            "messages": {
                topic.event.__name__: _message(topic, _schema(catalogue, topic, registry)) for topic in catalogue
            },
            "schemas": {"headers": _headers()},
        },
    }


def summary(event: type[Event]) -> str:
    """Return the first paragraph of an event's documentation in one line."""
    return " ".join((getdoc(event) or "").partition("\n\n")[0].split())


def _channel(topic: Topic, catalogue: Catalogue) -> JSONObject:
    message = topic.event.__name__
    return {
        "address": topic.name,
        "description": summary(topic.event),
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    "retention.ms": round(topic.retention * 1000),
                },
                "bindingVersion": KAFKA_BINDING,
            }
        },
        "x-pool": topic.pool,
        "x-dead-letter-topic": catalogue.dlq(topic.name),
    }


def _operation(topic: Topic, catalogue: Catalogue, handlers: Iterable[Handler[Event]]) -> JSONObject:
    channel = f"#/channels/{topic.name}"
    return {
        "action": "receive",
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{topic.event.__name__}"}],
        "bindings": {
            "kafka": {
                "groupId": {"type": "string", "enum": [catalogue.group(topic.pool)]},
                "bindingVersion": KAFKA_BINDING,
            }
        },
        "x-handlers": [
            {
                "name": handler.name,
                "kind": handler.kind,
                "soft-time-limit": format_duration(handler.soft_time_limit),
                "time-limit": format_duration(handler.time_limit),
                "retry": str(handler.retry),
                "needs": list(handler.needs),
            }
            for handler in handlers
        ],
    }


def _message(topic: Topic, schema: RegisteredSchema) -> JSONObject:
    return {
        "name": topic.event.__name__,
        "summary": summary(topic.event),
        "headers": {"$ref": "#/components/schemas/headers"},
        "payload": {"schemaFormat": AVRO, "schema": schema.schema},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": f"The event's {topic.key}"},
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicNameStrategy",
                "bindingVersion": KAFKA_BINDING,
            }
        },
        "x-schema": {"subject": schema.subject, "version": schema.version, "id": schema.id},
    }


def _schema(catalogue: Catalogue, topic: Topic, registry: FileRegistry) -> RegisteredSchema:
    subject = catalogue.subject(topic.name)
    found = registry.own(subject, frozenset(topic.event.model_fields)) or registry.latest(subject)
    if found is None:
        message = f"{subject} is missing in {registry.folder}: run `streams schemas export`"
        raise RegistryError(message)
    return found


def _headers() -> JSONObject:
    properties = {name: {"type": "string", "description": text} for name, text in HEADERS.items()}
    return {"type": "object", "properties": properties, "required": list(REQUIRED)}
