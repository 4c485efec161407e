"""Keywords are extracted as on the platform."""

import marshal
import tempfile
from pathlib import Path

import pytest

from streams.dify.keywords.extract import KeywordRequest, _finder, keywords_of


def test_the_most_telling_words_come_first() -> None:
    """A word that occurs twice counts twice. Stop words are left out. Chinese text is split into words."""
    (found,) = keywords_of(KeywordRequest(("The holiday is a holiday, and 我们的假期有三十天假期",), 2))
    assert found == ["holiday", "假期"]


def test_a_compound_keyword_brings_its_parts() -> None:
    (found,) = keywords_of(KeywordRequest(("version 3.11",), 10))
    assert sorted(found) == ["11", "3", "3.11", "version"]


def test_the_number_limits_the_words_and_not_their_parts() -> None:
    (found,) = keywords_of(KeywordRequest(("3.11 3.11 version",), 1))
    assert found == ["3.11", "3", "11"]


def test_a_text_without_words_has_no_keywords() -> None:
    assert keywords_of(KeywordRequest(("", "the of and"), 10)) == [[], []]


@pytest.mark.requirement(
    "Development",
    "no test and no result depends on another program's files in the temporary folder",
)
def test_another_dictionary_in_the_temporary_folder_is_neither_read_nor_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This is the default place of jieba's dictionary. The file contains only a wrong Chinese word."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    foreign = tmp_path / "jieba.cache"
    foreign.write_bytes(marshal.dumps(({"我们的假期有三十天假期": 10**9, "我": 0}, 10**9)))
    before = foreign.read_bytes()
    _finder.cache_clear()
    try:
        (found,) = keywords_of(KeywordRequest(("我们的假期有三十天假期",), 1))
    finally:
        _finder.cache_clear()
    assert found == ["假期"]
    assert foreign.read_bytes() == before
    assert list(tmp_path.iterdir()) == [foreign]
