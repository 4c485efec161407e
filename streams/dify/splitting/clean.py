"""The platform's rules for cleaning a text before it is split."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

CleaningStep = Literal["remove_extra_spaces", "remove_urls_emails"]
"""The steps that a process rule may name, by the platform's names."""

# The last three are the bytes of U+FFFE, decoded as single characters. The platform removes them, and its hashes of
# segments and cached embeddings are computed without them. The same text must give the same hash here.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xef\xbf\xbe\ufffe]")
_MANY_NEWLINES = re.compile(r"\n{3,}")
_MANY_BLANKS = re.compile("[\t\f\r\x20\u00a0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000]{2,}")
_LEADING_PUNCTUATION = re.compile(r"""^[\u2000-\u206f\u2e00-\u2e7f\u3000-\u303f!"#$%&'()*+,./:;<=>?@^_`~]+""")
# Matches a whole word, with or without a domain after it. A search for addresses only would start again at each
# character of a long word, and one line of base64 would take very long.
_WORD_OR_EMAIL = re.compile(r"[a-zA-Z0-9_.+-]+(?P<domain>@[a-zA-Z0-9-]+\.[a-zA-Z0-9.-]+)?")
# The text of an image may contain one level of brackets.
_IMAGE_OR_URL = re.compile(
    r"(?P<image>!\[(?:[^\[\]\n]|\[[^\[\]\n]*\])*\]\(https?://[^\s)]+\))|https?://[^\s)]+",
)


def clean_text(text: str, steps: Iterable[CleaningStep] = ()) -> str:
    """Remove control characters and marks of prompt templates, then apply the steps in order."""
    cleaned = _CONTROL.sub("", text.replace("<|", "<").replace("|>", ">"))
    for step in steps:
        cleaned = _STEPS[step](cleaned)
    return cleaned


def without_leading_punctuation(piece: str) -> str:
    """Return a piece without leading punctuation and without surrounding blanks."""
    return _LEADING_PUNCTUATION.sub("", piece).strip()


def _without_extra_spaces(text: str) -> str:
    """Reduce to at most two newlines and one blank in a row."""
    return _MANY_BLANKS.sub(" ", _MANY_NEWLINES.sub("\n\n", text))


def _without_urls_and_emails(text: str) -> str:
    """Remove e-mail addresses and URLs, except the URLs of Markdown images."""
    if "@" in text:
        text = _WORD_OR_EMAIL.sub(_unless_email, text)
    return _IMAGE_OR_URL.sub(lambda found: found["image"] or "", text)


def _unless_email(found: re.Match[str]) -> str:
    return "" if found["domain"] else found[0]


_STEPS: Mapping[CleaningStep, Callable[[str], str]] = {
    "remove_extra_spaces": _without_extra_spaces,
    "remove_urls_emails": _without_urls_and_emails,
}
