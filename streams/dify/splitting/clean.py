"""The platform's rules for cleaning a text before it is split."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

CleaningStep = Literal["remove_extra_spaces", "remove_urls_emails"]
"""What a process rule may ask for, by the platform's names."""

# The last three are the bytes of U+FFFE taken for characters. The platform strips them so, and its hashes of
# segments and cached embeddings are of the text without them: the same text must give the same hash here.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xef\xbf\xbe\ufffe]")
_MANY_NEWLINES = re.compile(r"\n{3,}")
_MANY_BLANKS = re.compile("[\t\f\r\x20\u00a0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000]{2,}")
_LEADING_PUNCTUATION = re.compile(r"""^[\u2000-\u206f\u2e00-\u2e7f\u3000-\u303f!"#$%&'()*+,./:;<=>?@^_`~]+""")
# A word is taken whole, with or without a domain behind it: a search for addresses alone would start anew at each
# character of a long word, and one line of base64 would take for ever.
_WORD_OR_EMAIL = re.compile(r"[a-zA-Z0-9_.+-]+(?P<domain>@[a-zA-Z0-9-]+\.[a-zA-Z0-9.-]+)?")
# An image's text may hold brackets one deep.
_IMAGE_OR_URL = re.compile(
    r"(?P<image>!\[(?:[^\[\]\n]|\[[^\[\]\n]*\])*\]\(https?://[^\s)]+\))|https?://[^\s)]+",
)


def clean_text(text: str, steps: Iterable[CleaningStep] = ()) -> str:
    """The text without control characters and the marks of prompt templates, then through the steps in their order."""
    cleaned = _CONTROL.sub("", text.replace("<|", "<").replace("|>", ">"))
    for step in steps:
        cleaned = _STEPS[step](cleaned)
    return cleaned


def without_leading_punctuation(piece: str) -> str:
    """A piece without what the split before it left at its start, and without blanks around it."""
    return _LEADING_PUNCTUATION.sub("", piece).strip()


def _without_extra_spaces(text: str) -> str:
    """At most two newlines and one blank in a row."""
    return _MANY_BLANKS.sub(" ", _MANY_NEWLINES.sub("\n\n", text))


def _without_urls_and_emails(text: str) -> str:
    """No e-mail address, and no URL but those of Markdown images."""
    if "@" in text:
        text = _WORD_OR_EMAIL.sub(_unless_email, text)
    return _IMAGE_OR_URL.sub(lambda found: found["image"] or "", text)


def _unless_email(found: re.Match[str]) -> str:
    return "" if found["domain"] else found[0]


_STEPS: Mapping[CleaningStep, Callable[[str], str]] = {
    "remove_extra_spaces": _without_extra_spaces,
    "remove_urls_emails": _without_urls_and_emails,
}
