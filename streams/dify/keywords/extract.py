"""The keywords of a text, as the platform finds them: jieba's TF-IDF, and the parts of what it finds."""

import logging
import re
import warnings
from functools import cache
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from jieba.analyse import TFIDF

KEYWORDS = 10
"""Of a question, and of a segment where the dataset's keyword_number says nothing."""
_WORD = re.compile(r"\w+")


class Asked(NamedTuple):
    """Texts whose keywords are wanted; picklable."""

    texts: tuple[str, ...]
    number: int
    """Keywords of each text, before the parts of compound ones."""


def keywords_of(asked: Asked) -> list[list[str]]:
    """Each text's keywords, the weightiest first, each followed by its parts where it has several.

    Runs in a process for CPU-bound work; the dictionary is loaded once a process (1 s).
    """
    finder = _finder()
    return [_with_parts(finder, finder.extract_tags(text, topK=asked.number)) for text in asked.texts]


def _with_parts(finder: "TFIDF", found: list[str]) -> list[str]:
    keywords: dict[str, None] = {}
    for keyword in found:
        keywords[keyword] = None
        parts = _WORD.findall(keyword)
        if len(parts) > 1:
            keywords.update(dict.fromkeys(part for part in parts if part.lower() not in finder.stop_words))
    return list(keywords)


@cache
def _finder() -> "TFIDF":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of a library written for older Pythons.
        import jieba.analyse  # noqa: PLC0415 - slow and only needed where keywords are made

    jieba.setLogLevel(logging.WARNING)
    # By default jieba reads a pickled dictionary from a well-known file in the folder of temporary files, where anyone
    # may have put another. A tokenizer of our own takes none from there, nor what other code has loaded.
    tokenizer = jieba.Tokenizer()
    with TemporaryDirectory() as folder:
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    finder = jieba.analyse.TFIDF()
    finder.tokenizer = tokenizer
    return finder
