"""Schemas in Apicurio Registry, a third-party registry with Confluent's API, which is killed while a worker runs.

Expected: the registry accepts all schemas, twice with the same ids, and rejects a schema that its compatibility level
does not allow. Producer and worker continue with the schemas that they have cached: every event has one effect, even
if it was published after the kill. A new producer fails with one line: the registry does not answer.
"""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from sqlalchemy import Engine

from schemas import DocumentDeleted
from schemas.registry import RegisteredSchema
from streams.codec import build_codec
from streams.publishing import EventProducer, PublishError
from streams.schema_registry.clients import open_http_registry
from streams.schema_registry.confluent import IncompatibleSchemaError
from streams.schema_registry.register import register
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.faults.assertions import assert_each_done_once
from tests.support.faults.load import mixed
from tests.support.processes.apicurio import Apicurio, running_apicurio
from tests.support.processes.worker_process import Streams, WorkerProcess, scalar, wait_for
from tests.support.trial_fixtures import environment, trial, with_registry

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]


@pytest.fixture(scope="module")
def apicurio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    with running_apicurio(tmp_path_factory.mktemp("apicurio")) as running:
        yield running


@pytest.mark.requirement("Schema evolution", "… with a real one of another house, killed under a worker")
def test_an_incompatible_schema_is_refused(trial: Settings, apicurio: Apicurio) -> None:
    settings = with_registry(trial, apicurio.url)
    registry = open_http_registry(settings)
    first = list(register(load_catalogue(settings), registry))
    assert len(first) > 3
    assert list(register(load_catalogue(settings), registry)) == first
    subject = load_catalogue(settings).subject("document.deleted")
    registered = next(one for one in first if one.subject == subject)
    other: dict[str, object] = {
        "type": "record",
        "name": "DocumentDeleted",
        "fields": [{"name": "document_id", "type": "long"}],
    }
    with pytest.raises(IncompatibleSchemaError, match="rejects the schema"):
        registry.register(RegisteredSchema(0, subject, 2, "", other))
    codec = build_codec(settings, load_catalogue(settings))
    event = DocumentDeleted(document_id="d", dataset_id="s", doc_form="f")
    encoded = codec.encode(event)
    assert int.from_bytes(encoded.value[1:5], "big") == registered.id
    assert build_codec(settings, load_catalogue(settings)).decode(encoded.topic, encoded.value) == event


@pytest.mark.requirement("Schema evolution", "… with a real one of another house, killed under a worker")
def test_cached_schemas_stay_usable_without_the_registry(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams, apicurio: Apicurio
) -> None:
    settings = with_registry(trial, apicurio.url)
    assert list(register(load_catalogue(settings), open_http_registry(settings)))
    load = mixed(300)
    registry_settings = {
        "STREAMS_SCHEMA_REGISTRY_URL": apicurio.url,
        "STREAMS_SCHEMA_FILES": str(settings.schema_files),
    }
    one = worker(**registry_settings).start()
    with EventProducer(settings, build_codec(settings, load_catalogue(settings))) as producer:
        assert producer.publish_many(load.events[:150]) == 150
        wait_for(partial(has_effects, engine, 100), "some effects")
        apicurio.kill()
        wait_for(lambda: not apicurio.answers(), "the registry to stop")
        assert producer.publish_many(load.events[150:]) == 150
    assert_each_done_once(engine, streams, load, seconds=60)
    with (
        EventProducer(settings, build_codec(settings, load_catalogue(settings))) as fresh,
        pytest.raises(PublishError, match="does not answer"),
    ):
        fresh.publish(load.events[0])
    assert one.stop() == 0


def has_effects(engine: Engine, count: int) -> bool:
    """Return whether at least `count` rows were written."""
    return int(str(scalar(engine, "select count(*) from trials"))) >= count
