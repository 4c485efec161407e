"""The platform's split rules: a text becomes pieces of limited length. Lengths are characters, not tokens."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from streams.dify.cleaning import clean_text, without_leading_punctuation
from streams.dify.identity import text_hash
from streams.dify.refusals import NotBuiltYetError, RefusedError

SEPARATORS = ("\n\n", "。", ". ", " ", "")


@dataclass(frozen=True, slots=True)
class Rule:
    """How to split: at most `size` characters a piece, `overlap` of them repeated from the piece before."""

    size: int
    overlap: int
    separators: tuple[str, ...] = SEPARATORS
    remove_extra_spaces: bool = True


AUTOMATIC = Rule(size=500, overlap=50)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a document: what becomes a segment and its vector."""

    position: int
    """1 is the first."""
    content: str
    content_hash: str


def rule_for(mode: str) -> Rule:
    """The rule of a process rule's mode. Raises RefusedError."""
    if mode == "automatic":
        return AUTOMATIC
    if mode in {"custom", "hierarchical"}:
        message = f"the process rule {mode!r} is not built yet"
        raise NotBuiltYetError(message)
    message = f"the process rule {mode!r} is unknown"
    raise RefusedError(message)


def pieces_of(text: str, rule: Rule) -> list[Piece]:
    """A document's text, cleaned and split; pieces that hold nothing but punctuation are dropped."""
    cleaned = clean_text(text, remove_extra_spaces=rule.remove_extra_spaces)
    contents = filter(None, map(without_leading_punctuation, split(cleaned, rule)))
    return [Piece(position, content, text_hash(content)) for position, content in enumerate(contents, start=1)]


def split(text: str, rule: Rule) -> list[str]:
    """Pieces of at most `rule.size` characters, in order; nothing but blanks at their edges is lost.

    The text is parted at the first separator that occurs in it; parts that are too long are parted by the
    following separators, and neighbouring short parts are put together again as far as they fit.
    """
    return list(_split(text, rule, rule.separators))


def _split(text: str, rule: Rule, separators: Sequence[str]) -> Iterator[str]:
    separator, finer = _first_in(text, separators)
    short: list[str] = []
    for part in _parts(text, separator):
        if len(part) < rule.size:
            short.append(part)
            continue
        yield from _joined(short, rule)
        short = []
        # A single character ends it: the last separator is empty and parts everything.
        yield from _split(part, rule, finer) if finer else (part,)
    yield from _joined(short, rule)


def _first_in(text: str, separators: Sequence[str]) -> tuple[str, Sequence[str]]:
    for index, separator in enumerate(separators):
        if separator in text:
            return separator, separators[index + 1 :]
    return "", ()


def _parts(text: str, separator: str) -> Iterable[str]:
    """The text parted behind each separator; parts that are nothing but a line's end are dropped."""
    if not separator:
        parts = list(text)
    else:
        *ended, last = text.split(separator)
        parts = [part + separator for part in ended] + [last]
    return (part for part in parts if part not in {"", "\n"})


def _joined(parts: Iterable[str], rule: Rule) -> Iterator[str]:
    """Parts put together up to the size; each piece starts with the last parts of the one before, up to overlap."""
    window: deque[str] = deque()
    length = 0
    for part in parts:
        if length + len(part) > rule.size:
            yield from _stripped(window)
            while length > rule.overlap or (length and length + len(part) > rule.size):
                length -= len(window.popleft())
        window.append(part)
        length += len(part)
    yield from _stripped(window)


def _stripped(window: Iterable[str]) -> Iterator[str]:
    piece = "".join(window).strip()
    if piece:
        yield piece
