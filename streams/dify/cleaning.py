"""The platform's rules for cleaning a text before it is split."""

import re

# The last three are the bytes of U+FFFE taken for characters. The platform strips them so, and its hashes of
# segments and cached embeddings are of the text without them: the same text must give the same hash here.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\xef\xbf\xbe\ufffe]")
_MANY_NEWLINES = re.compile(r"\n{3,}")
_MANY_BLANKS = re.compile("[\t\f\r\x20\u00a0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000]{2,}")
_LEADING_PUNCTUATION = re.compile(r"""^[\u2000-\u206f\u2e00-\u2e7f\u3000-\u303f!"#$%&'()*+,./:;<=>?@^_`~]+""")


def clean_text(text: str, *, remove_extra_spaces: bool) -> str:
    """The text without control characters and the marks of prompt templates; extra blanks only if asked for."""
    cleaned = _CONTROL.sub("", text.replace("<|", "<").replace("|>", ">"))
    if remove_extra_spaces:
        cleaned = _MANY_BLANKS.sub(" ", _MANY_NEWLINES.sub("\n\n", cleaned))
    return cleaned


def without_leading_punctuation(piece: str) -> str:
    """A piece without what the split before it left at its start, and without blanks around it."""
    return _LEADING_PUNCTUATION.sub("", piece).strip()
