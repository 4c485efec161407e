"""The pages of the domain are generated from the catalogue: `python -m tests.support.domain`."""

import json
from collections.abc import Iterator

import pytest

from schemas.registry import FileRegistry
from streams.agents.built_in import HANDLERS
from streams.cli.schemas import asyncapi
from streams.topics import BUILT_IN, load_catalogue
from tests.support import domain
from tests.support.factories import SETTINGS

SECTION = "The whole domain"


@pytest.mark.requirement(SECTION, "docs/domain.md is generated from the catalogue")
def test_the_page_of_the_domain_is_generated() -> None:
    assert domain.PAGE.read_text(encoding="utf-8") == domain.page()


@pytest.mark.requirement(SECTION, "an AsyncAPI 3 document from the same source")
def test_the_asyncapi_document_is_generated() -> None:
    assert domain.DOCUMENT.read_text(encoding="utf-8") == domain.document()


def test_the_page_tells_what_each_topic_has_and_replaces() -> None:
    text = domain.page()
    assert [topic.name for topic in BUILT_IN if f"### `{topic.name}`\n" not in text] == []
    assert [handler.name for handler in HANDLERS if f"| `{handler.name}` |" not in text] == []
    assert "| `phase` | text, or null | Of change-mail: old_email or new_email |" in text
    assert "| `rows[].question` | text | PII |" in text
    deleted = text.partition("### `dataset.deleted`\n")[2].partition("###")[0]
    assert "Replaces: signal `dataset-was-deleted`, task `clean_dataset_task`." in deleted
    assert "key `dataset_id` · pool `low` · 4 partitions · kept 7d" in deleted


def parts(value: object) -> Iterator[dict[str, object]]:
    """Yield all objects of a JSON document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(inner)


def target(document: object, reference: str) -> object:
    for name in reference.removeprefix("#/").split("/"):
        assert isinstance(document, dict)
        document = document[name]
    return document


@pytest.mark.requirement(SECTION, "an AsyncAPI 3 document from the same source")
def test_the_command_prints_the_document_of_a_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    asyncapi()
    assert json.loads(capsys.readouterr().out) == json.loads(domain.document())


@pytest.mark.requirement(SECTION, "an AsyncAPI 3 document from the same source")
def test_the_asyncapi_document_is_complete() -> None:
    """All references lead somewhere. Each topic has its message with its newest schema, and its group if handled."""
    document = json.loads(domain.document())
    assert document["asyncapi"] == "3.0.0"
    for part in parts(document):
        if "$ref" in part:
            assert target(document, str(part["$ref"])), part
    catalogue, registry = load_catalogue(SETTINGS), FileRegistry()
    assert set(document["channels"]) == {topic.name for topic in catalogue}
    for topic in catalogue:
        channel = document["channels"][topic.name]
        message = target(document, channel["messages"][topic.event.__name__]["$ref"])
        assert isinstance(message, dict)
        latest = registry.latest(catalogue.subject(topic.name))
        assert latest is not None
        assert message["payload"]["schema"] == latest.schema
        operation = document["operations"].get(f"receive {topic.name}")
        handlers = [handler.name for handler in HANDLERS if handler.event is topic.event]
        assert [one["name"] for one in operation["x-handlers"]] == handlers if operation else handlers == []
        if operation:
            assert operation["bindings"]["kafka"]["groupId"]["enum"] == [catalogue.group(topic.pool)]
