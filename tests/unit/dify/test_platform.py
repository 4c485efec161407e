"""The platform's names and ids."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.errors import RefusedError
from streams.dify.ids import checked_id, node_id, segment_id, text_hash
from streams.dify.platform import build_platform
from streams.dify.sources.reference import upload_file_id
from streams.dify.vector_stores.pgvector import table_name
from streams.dify.vector_stores.port import collection_from_struct, collection_name, index_struct
from streams.settings import Settings, SettingsError

DATASET = "0b0e4b2c-9d57-4f0a-8d9c-3f6f2a7c1e55"


def test_a_collection_and_its_table() -> None:
    name = collection_name("Vector_index", DATASET)
    assert name == "Vector_index_0b0e4b2c_9d57_4f0a_8d9c_3f6f2a7c1e55_Node"
    assert table_name(name) == "embedding_vector_index_0b0e4b2c_9d57_4f0a_8d9c_3f6f2a7c1e55_nod"
    assert len(table_name(name)) == 63
    assert collection_from_struct(index_struct("pgvector", name)) == name


@pytest.mark.parametrize(
    "struct",
    ['{"type": "economy"}', '{"vector_store": null}', '{"vector_store": {}}', '{"vector_store": {"class_prefix": ""}}'],
)
def test_an_index_struct_may_name_no_collection(struct: str) -> None:
    assert collection_from_struct(struct) is None


@pytest.mark.parametrize(
    "struct", ["Vector_index", "[]", '{"vector_store": 1}', '{"vector_store": {"class_prefix": 1}}']
)
def test_a_broken_index_struct_is_refused(struct: str) -> None:
    with pytest.raises(RefusedError, match="index_struct"):
        collection_from_struct(struct)


def test_the_platforms_hash() -> None:
    """sha256 of the text followed by "None"."""
    assert text_hash("hello") == "c0a2ae6e305366764fa6ba9ff8811afa22429dff0be3e5ad30e2ee9e738efcee"


@pytest.mark.requirement(
    "The work on the platform's tables",
    "pgvector in the platform's layout, deterministic node ids",
)
@given(st.uuids(), st.integers(1, 10_000), st.text())
def test_node_ids_say_the_same_on_every_run(document: UUID, position: int, content: str) -> None:
    key = text_hash(content)
    start = datetime(2026, 11, 2, 9, 30, 1, 250_000)  # noqa: DTZ001 - as in the platform's columns
    node = node_id(str(document), start, position, key)
    assert node == node_id(str(document).upper(), start, position, key)
    assert node != node_id(str(document), start, position + 1, key)
    assert node != node_id(str(document), start, position, text_hash(content + "x"))
    assert node != node_id(str(document), start + timedelta(microseconds=1), position, key)
    assert len({node, segment_id(node)}) == 2


def test_an_id_from_outside() -> None:
    assert checked_id("document_id", DATASET.upper()) == DATASET
    with pytest.raises(RefusedError, match="document_id 'x' is not a UUID"):
        checked_id("document_id", "x")


def test_where_a_document_comes_from() -> None:
    assert upload_file_id("upload_file", f'{{"upload_file_id": "{DATASET}"}}') == DATASET
    with pytest.raises(RefusedError, match="carrier_pigeon"):
        upload_file_id("carrier_pigeon", "{}")
    for broken in (None, "", "{", "[]", "{}", '{"upload_file_id": 5}'):
        with pytest.raises(RefusedError, match="names no upload file"):
            upload_file_id("upload_file", broken)


def test_only_the_model_that_a_dataset_names_is_used() -> None:
    platform = build_platform(Settings())
    assert platform.embedder(None, None) is platform.default_embedder
    assert platform.embedder("local", "wordllama-256") is platform.default_embedder
    for provider, model in (("openai", "ada"), ("local", "ada"), (None, "ada"), ("openai", None)):
        with pytest.raises(RefusedError, match="is not configured; available: wordllama-256 of local"):
            platform.embedder(provider, model)


def test_a_model_without_an_endpoint_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match="needs STREAMS_EMBEDDING_URL"):
        build_platform(Settings(embedding_model="ada"))
    with pytest.raises(SettingsError, match="STREAMS_EMBEDDING_PROVIDER: 'local' is the local model"):
        build_platform(Settings(embedding_model="ada", embedding_url="http://127.0.0.1:1/v1"))


def test_an_endpoint_is_there_beside_the_local_model() -> None:
    settings = Settings(embedding_provider="openai", embedding_model="ada", embedding_url="http://127.0.0.1:1/v1")
    platform = build_platform(settings)
    assert platform.default_embedder is platform.embedder("openai", "ada")
    assert platform.embedder("local", "wordllama-256") is not platform.default_embedder


def test_a_dataset_may_have_two_collections() -> None:
    platform = build_platform(Settings())
    own = collection_name("Vector_index", DATASET)
    assert platform.collections(DATASET, None) == (own,)
    assert platform.collections(DATASET, index_struct("pgvector", own)) == (own,)
    assert platform.collections(DATASET, index_struct("pgvector", "Other")) == ("Other", own)
