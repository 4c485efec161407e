"""The platform's split rules: pieces of limited length. Lengths are characters, not tokens."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from streams.dify.splitting.rules import Segmentation

SEPARATORS = ("\n\n", "。", ". ", " ", "")
"""The separators for a text that is too long: the first one that occurs in it, then the ones after it."""


def split(text: str, segmentation: Segmentation) -> list[str]:
    """Return pieces of at most `segmentation.size` characters, in order. Only blanks and the own separator are lost.

    The own separator splits the text wherever it occurs. Only parts that are too long are split further.
    """
    return list(split_lazily(text, segmentation))


def split_lazily(text: str, segmentation: Segmentation) -> Iterator[str]:
    """Yield the pieces that `split` returns. The caller may stop when they become too many."""
    if segmentation.separator is None:
        yield from _split(text, segmentation, SEPARATORS)
        return
    for part in text.split(segmentation.separator) if segmentation.separator else [text]:
        yield from _fitting(part, segmentation)


def _fitting(part: str, segmentation: Segmentation) -> Iterator[str]:
    if len(part) > segmentation.size:
        yield from _split(part, segmentation, SEPARATORS)
    else:
        yield from _stripped((part,))


def _split(text: str, segmentation: Segmentation, separators: Sequence[str]) -> Iterator[str]:
    """Split parts that are too long by the following separators. Join short neighbouring parts again."""
    separator, finer = _first_in(text, separators)
    short: list[str] = []
    for part in _parts(text, separator):
        if len(part) < segmentation.size:
            short.append(part)
            continue
        yield from _joined(short, segmentation)
        short = []
        # The recursion ends at single characters: the last separator is empty and splits everything.
        yield from _split(part, segmentation, finer) if finer else (part,)
    yield from _joined(short, segmentation)


def _first_in(text: str, separators: Sequence[str]) -> tuple[str, Sequence[str]]:
    for index, separator in enumerate(separators):
        if separator in text:
            return separator, separators[index + 1 :]
    return "", ()


def _parts(text: str, separator: str) -> Iterable[str]:
    """Split the text after each separator. Parts that contain only a newline are dropped."""
    if not separator:
        parts = list(text)
    else:
        *ended, last = text.split(separator)
        parts = [part + separator for part in ended] + [last]
    return (part for part in parts if part not in {"", "\n"})


def _joined(parts: Iterable[str], segmentation: Segmentation) -> Iterator[str]:
    """Join parts up to the size. Each piece starts with the last parts of the one before, up to the overlap."""
    window: deque[str] = deque()
    length = 0
    for part in parts:
        if length + len(part) > segmentation.size:
            yield from _stripped(window)
            while length > segmentation.overlap or (length and length + len(part) > segmentation.size):
                length -= len(window.popleft())
        window.append(part)
        length += len(part)
    yield from _stripped(window)


def _stripped(window: Iterable[str]) -> Iterator[str]:
    piece = "".join(window).strip()
    if piece:
        yield piece
