"""Keywords as the platform finds them."""

import tempfile
from pathlib import Path

from streams.dify.keywords.extract import Asked, keywords_of


def test_the_most_telling_words_come_first() -> None:
    """Twice as often counts twice; stop words are left out; Chinese is cut into words."""
    (found,) = keywords_of(Asked(("The holiday is a holiday, and 我们的假期有三十天假期",), 2))
    assert found == ["holiday", "假期"]


def test_a_compound_keyword_brings_its_parts() -> None:
    (found,) = keywords_of(Asked(("version 3.11",), 10))
    assert sorted(found) == ["11", "3", "3.11", "version"]


def test_the_number_limits_the_words_and_not_their_parts() -> None:
    (found,) = keywords_of(Asked(("3.11 3.11 version",), 1))
    assert found == ["3.11", "3", "11"]


def test_a_text_without_words_has_no_keywords() -> None:
    assert keywords_of(Asked(("", "the of and"), 10)) == [[], []]


def test_no_dictionary_is_left_where_others_could_change_it() -> None:
    keywords_of(Asked(("text",), 1))
    assert not (Path(tempfile.gettempdir()) / "jieba.cache").exists()
