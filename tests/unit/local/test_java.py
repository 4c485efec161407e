"""Finding Java, and the options that suppress its warnings."""

from pathlib import Path

import pytest

from streams.local.java import Java, parse_version


@pytest.mark.requirement("The local stack", "the machine's Java, or that of a package")
@pytest.mark.parametrize(
    ("output", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16\nOpenJDK Runtime Environment', 25),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('java version "1.8.0_392"', 1),
        ("no such program", None),
    ],
)
def test_the_major_version_is_read_from_what_java_says(output: str, major: int | None) -> None:
    assert parse_version(output) == major


@pytest.mark.requirement("The local stack", "the machine's Java, or that of a package")
def test_an_older_java_is_not_given_options_that_it_refuses() -> None:
    assert Java(Path("java"), 17).quiet_options == ()
    assert Java(Path("java"), 22).quiet_options == ("--enable-native-access=ALL-UNNAMED",)
    assert "--sun-misc-unsafe-memory-access=allow" in Java(Path("java"), 25).quiet_options
