"""Extracts keywords as the platform does: jieba's TF-IDF, and the parts of compound keywords."""

import logging
import re
import warnings
from functools import cache
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from jieba.analyse import TFIDF

DEFAULT_KEYWORDS = 10
"""The number of keywords of a question, and of a segment if the dataset has no keyword_number."""
_WORD = re.compile(r"\w+")


class KeywordRequest(NamedTuple):
    """Texts to extract keywords from; picklable."""

    texts: tuple[str, ...]
    number: int
    """The number of keywords per text, without the parts of compound ones."""


def keywords_of(request: KeywordRequest) -> list[list[str]]:
    """Return the keywords of each text, the most important first, each followed by its parts.

    Runs in a process for CPU-bound work. The dictionary is loaded once per process (1 s).
    """
    finder = _finder()
    return [_with_parts(finder, finder.extract_tags(text, topK=request.number)) for text in request.texts]


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
        warnings.simplefilter("ignore")  # From a library that was written for older Pythons.
        import jieba.analyse  # noqa: PLC0415 - slow and only needed where keywords are made

    jieba.setLogLevel(logging.WARNING)
    # By default jieba reads a pickled dictionary from a well-known file in the temporary folder, where any user may
    # have put another one. A separate tokenizer does not read that file, and not what other code has loaded.
    tokenizer = jieba.Tokenizer()
    with TemporaryDirectory() as folder:
        tokenizer.tmp_dir = folder
        tokenizer.initialize()
    finder = jieba.analyse.TFIDF()
    finder.tokenizer = tokenizer
    return finder
