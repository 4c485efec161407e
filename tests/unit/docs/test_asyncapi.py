"""The AsyncAPI document has the form that the specification 3.0.0 and its Kafka bindings 0.5.0 describe.

The names of the fields are facts about the specification, copied by hand. A field that it does not know may only be an
extension: `x-…`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import domain

SECTION = "The whole domain"
BINDING = "bindingVersion"
JSON_SCHEMA = {"type", "description", "properties", "required", "enum"}
"""The keywords of JSON Schema that the document uses."""
# Each kind of object: its required fields, and the others that it may have.
KINDS: dict[str, tuple[set[str], set[str]]] = {
    "document": ({"asyncapi", "info"}, {"id", "servers", "defaultContentType", "channels", "operations", "components"}),
    "info": (
        {"title", "version"},
        {"description", "termsOfService", "contact", "license", "tags", "externalDocs"},
    ),
    "components": (
        set(),
        {
            "schemas",
            "servers",
            "channels",
            "operations",
            "messages",
            "securitySchemes",
            "serverVariables",
            "parameters",
            "correlationIds",
            "replies",
            "replyAddresses",
            "externalDocs",
            "tags",
            "operationTraits",
            "messageTraits",
            "serverBindings",
            "channelBindings",
            "operationBindings",
            "messageBindings",
        },
    ),
    "channel": (
        set(),
        {
            "address",
            "messages",
            "title",
            "summary",
            "description",
            "servers",
            "parameters",
            "tags",
            "externalDocs",
            "bindings",
        },
    ),
    "operation": (
        {"action", "channel"},
        {
            "title",
            "summary",
            "description",
            "security",
            "tags",
            "externalDocs",
            "bindings",
            "traits",
            "messages",
            "reply",
        },
    ),
    "message": (
        set(),
        {
            "headers",
            "payload",
            "correlationId",
            "contentType",
            "name",
            "title",
            "summary",
            "description",
            "tags",
            "externalDocs",
            "bindings",
            "examples",
            "traits",
        },
    ),
    "payload": ({"schemaFormat", "schema"}, set()),
    "schema": (set(), JSON_SCHEMA),
    "reference": ({"$ref"}, set()),
    "channel of Kafka": (set(), {"topic", "partitions", "replicas", "topicConfiguration", BINDING}),
    "configuration of a topic": (
        set(),
        {"cleanup.policy", "retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes"},
    ),
    "operation of Kafka": (set(), {"groupId", "clientId", BINDING}),
    "message of Kafka": (
        set(),
        {"key", "schemaIdLocation", "schemaIdPayloadEncoding", "schemaLookupStrategy", BINDING},
    ),
}
Node = dict[str, Any]
Objects = Iterator[tuple[str, str, Node]]


def objects(document: Node) -> Objects:
    """Yield each object of a document: its kind, its place, and the object."""
    yield "document", "", document
    yield "info", "info", document["info"]
    components = document["components"]
    yield "components", "components", components
    for name, channel in document["channels"].items():
        yield from channel_objects(name, channel)
    for name, operation in document["operations"].items():
        yield "operation", name, operation
        yield "reference", f"{name} channel", operation["channel"]
        for message in operation["messages"]:
            yield "reference", f"{name} message", message
        kafka = operation["bindings"]["kafka"]
        yield "operation of Kafka", name, kafka
        yield "schema", f"{name} group", kafka["groupId"]
    for name, message in components["messages"].items():
        yield "message", name, message
        yield "payload", name, message["payload"]
        yield "reference", f"{name} headers", message["headers"]
        yield "message of Kafka", name, message["bindings"]["kafka"]
        yield "schema", f"{name} key", message["bindings"]["kafka"]["key"]
    for name, schema in components["schemas"].items():
        yield "schema", name, schema
        for header, one in schema["properties"].items():
            yield "schema", header, one


def channel_objects(name: str, channel: Node) -> Objects:
    yield "channel", name, channel
    for message in channel["messages"].values():
        yield "reference", f"{name} message", message
    kafka = channel["bindings"]["kafka"]
    yield "channel of Kafka", name, kafka
    yield "configuration of a topic", name, kafka["topicConfiguration"]


def problems(document: Node) -> list[str]:
    """Return what the specification does not allow, one line each."""
    found = []
    for kind, place, one in objects(document):
        required, others = KINDS[kind]
        names = {name for name in one if not name.startswith("x-")}
        found += [f"{kind} {place}: {name} is missing" for name in sorted(required - names)]
        found += [f"{kind} {place}: {name} is not known" for name in sorted(names - required - others)]
        if kind.endswith("of Kafka") and (one.get(BINDING) != "0.5.0" or document["asyncapi"] != "3.0.0"):
            found.append(f"{kind} {place}: another version")
    for part in document["components"].values():
        # The keys of components are restricted, those of channels and operations are not.
        found += [f"components: {name}" for name in part if not re.fullmatch(r"[A-Za-z0-9._-]+", name)]
    for name, operation in document["operations"].items():
        channel = operation["channel"]["$ref"]
        inside = all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])
        if operation["action"] not in {"send", "receive"} or not channel.startswith("#/channels/") or not inside:
            found.append(f"operation {name}: its action, its channel, or a message that is not the channel's")
    return found


@pytest.mark.requirement(SECTION, "the AsyncAPI document has the form of the specification")
def test_the_document_has_the_form_of_the_specification() -> None:
    assert problems(json.loads(domain.document())) == []


def test_another_form_is_noticed() -> None:
    """A field of version 2, a missing one, a key that no component may have, a message of another channel."""
    document = json.loads(domain.document())
    first, second, *_ = document["operations"].values()
    first["publish"] = {}
    del document["info"]["title"]
    document["components"]["schemas"]["the headers"] = {"properties": {}}
    first["messages"] = second["messages"]
    del next(iter(document["components"]["messages"].values()))["payload"]["schemaFormat"]
    kinds = [line.partition(" ")[0].rstrip(":") for line in problems(document)]
    assert sorted(kinds) == ["components", "info", "operation", "operation", "payload"]
