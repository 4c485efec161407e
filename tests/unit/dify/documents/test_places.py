"""Where segments are in their file, by position."""

from streams.dify.indexing.places import Places


def test_neighbours_of_one_part_have_its_place() -> None:
    """A segment without a place between two pages has none."""
    places = Places()
    given: list[dict[str, object]] = [{}, {"page": 1}, {"page": 1}, {}, {"page": 3, "headings": "A > B"}]
    for position, place in enumerate(given, start=1):
        places.add(position, place)
    assert [places.at(position) for position in (1, 2, 3, 4, 5, 9)] == [
        {},
        {"page": 1},
        {"page": 1},
        {},
        {"page": 3, "headings": "A > B"},
        {"page": 3, "headings": "A > B"},
    ]
    assert places.at(None) == Places().at(1) == {}


def test_a_place_of_a_stranger_s_file_is_checked() -> None:
    """Other keys and values do not reach the index, nor what no column of JSON can contain."""
    places = Places()
    places.add(1, {"page": 1, "doc_id": "x", "row": [1], "slide": True, "headings": "a\x00" + "b" * 9999})
    found = places.at(1)
    assert set(found) == {"page", "headings"}
    assert found["headings"] == "a\ufffd" + "b" * 498
