"""An unknown name is answered with names that exist."""

from streams.name_errors import unknown_name


def test_few_names_are_all_listed() -> None:
    assert unknown_name("pool", "hihg", ["low", "high"]) == "no pool 'hihg'; there are: high, low"


def test_of_many_names_the_closest_are_listed() -> None:
    many = [f"family.fact-{number}" for number in range(40)]

    assert unknown_name("topic", "document.delted", [*many, "document.deleted"]) == (
        "no topic 'document.delted'; did you mean document.deleted?"
    )
    assert unknown_name("topic", "xyz", many) == (
        "no topic 'xyz'; there are 40, such as family.fact-0, family.fact-1, family.fact-10, family.fact-11, "
        "family.fact-12"
    )
