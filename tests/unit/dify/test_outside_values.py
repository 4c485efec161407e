"""Ids, names and JSON from outside: what PostgreSQL cannot contain is refused at once and never retried."""

import json
from unittest.mock import AsyncMock, Mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import RefusedError
from streams.dify.ids import checked_id, checked_text, storable
from streams.dify.models.json_text import read_object
from streams.dify.pipelines.run_files import documents_of_file
from streams.dify.plugins.manifests import ManifestCache
from streams.dify.sources.reference import last_edited_time, upload_file_id
from streams.dify.vector_stores.port import collection_from_struct, datasets_in, is_own_collection

DEEP = "[" * 100_000
REQUIREMENT = "L9: what no column can contain is refused at once"
ID = "11111111-1111-4111-8111-111111111111"


@pytest.mark.requirement("Faults of others", REQUIREMENT)
@pytest.mark.parametrize(
    "struct",
    [
        DEEP,
        '{"vector_store": ' * 100_000,
        '{"vector_store": {"class_prefix": "a\\u0000b"}}',
        '{"vector_store": {"class_prefix": "a\\ud800b"}}',
        '{"vector_store": {"class_prefix": "' + "x" * 300 + '"}}',
        '{"\\u0000": 1}',
        "\x00",
        "\ud800",
    ],
)
def test_an_index_struct_that_nothing_can_store_is_refused(struct: str) -> None:
    """Zero bytes, halves of surrogate pairs, names without end, and JSON too deep for the parser."""
    with pytest.raises(RefusedError):
        collection_from_struct(struct)


@pytest.mark.requirement("Faults of others", REQUIREMENT)
@pytest.mark.parametrize(
    "info", [DEEP, '{"upload_file_id": "\\ud800"}', '{"upload_file_id": "\\u0000"}', "", None, "1"]
)
def test_a_source_that_nothing_can_store_is_refused(info: str | None) -> None:
    """The document's own column is from outside too."""
    assert last_edited_time(info) is None
    with pytest.raises(RefusedError):
        upload_file_id("upload_file", info)


@pytest.mark.requirement("Faults of others", REQUIREMENT)
@pytest.mark.parametrize("value", ["a\x00", "\udfff", "x" * 256])
def test_ids_and_names_that_nothing_can_store_are_refused(value: str) -> None:
    """The message names the field and can be stored itself."""
    for check in (checked_id, checked_text):
        with pytest.raises(RefusedError, match=r"^provider_name ") as refused:
            check("provider_name", value)
        assert "\x00" not in str(refused.value)
        assert str(refused.value).encode()


@given(st.text(st.characters()))
def test_any_text_becomes_storable(text: str) -> None:
    """What remains can be encoded, has no zero byte, and a good text is unchanged."""
    kept = storable(text)
    assert kept.encode().decode() == kept
    assert "\x00" not in kept
    if "\x00" not in text and text.encode(errors="ignore").decode() == text:
        assert kept == text


@given(st.dictionaries(st.text(), st.text()))
@example({"code": r"text.replace('\u0000', '')"})
@example({"a": "\\\x00"})
def test_objects_are_read(value: dict[str, str]) -> None:
    """Whatever JSON text the platform writes, unless nothing could store its texts."""
    found = read_object(json.dumps(value))
    texts = "".join([*value, *value.values()])
    storable_texts = "\x00" not in texts and texts.encode(errors="ignore").decode() == texts
    assert found == (value if storable_texts else None)


@pytest.mark.requirement("Faults of others", "H2: a forged dataset.deleted drops no vectors of a dataset that stands")
def test_whose_collection_a_name_marks() -> None:
    """All ids of a name are found, also those that overlap, and only a whole id marks a dataset's own collection."""
    name = f"Vector_index_{ID.replace('-', '_')}_Node"
    assert datasets_in(name) == [ID]
    assert datasets_in(f"{name}_{ID.upper().replace('-', '_')}") == [ID, ID]
    assert is_own_collection(name.lower(), ID)
    assert not is_own_collection(name[:40], ID)
    assert not is_own_collection(name, "")


@pytest.mark.parametrize("content", [DEEP, "no json"])
async def test_files_and_cached_values_that_nothing_can_read_are_not_there(content: str) -> None:
    """A pipeline's file lists no document. A manifest is fetched again."""
    session = Mock(AsyncSession, scalar=AsyncMock(return_value="key"), execute=AsyncMock(return_value=[]))
    storage = Mock(read=AsyncMock(return_value=content.encode()))
    assert await documents_of_file(session, storage, "file", "tenant") == []
    client = Mock(mget=AsyncMock(return_value=[content]), pipeline=Mock(side_effect=OSError))
    marketplace = Mock(manifests=AsyncMock(return_value={"id": {"name": "n"}}))
    cache = ManifestCache(marketplace, Mock(current=Mock(return_value=client)))
    assert await cache.manifests(["id"]) == {"id": {"name": "n"}}
