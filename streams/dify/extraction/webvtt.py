"""Reads WebVTT, the subtitles of meetings and videos: what is said, and who says it, without the times."""

import re
from collections.abc import Iterator
from html import unescape

from streams.dify.extraction.plain import plain_text
from streams.dify.extraction.result import Extracted, Part

_ARROW = "-->"
_VOICE = re.compile(r"<v(?:\.[^\s<>]{0,200})?[ \t]{1,20}([^<>]{1,200})>")
_TAG = re.compile(r"</?[a-z0-9][^<>]*>|</?>", re.IGNORECASE)


def webvtt_text(content: bytes) -> Extracted:
    """Return the cues as lines: ``Speaker "text"``, or the text where no speaker is named.

    Cues of one speaker that follow each other are one line, as on the platform. Raises ExtractionError.
    """
    lines: list[tuple[str, list[str]]] = []
    for speaker, said in _utterances(plain_text(content)):
        if speaker and lines and lines[-1][0] == speaker:
            lines[-1][1].append(said)
        else:
            lines.append((speaker, [said]))
    shown = (f'{speaker} "{" ".join(said)}"' if speaker else " ".join(said) for speaker, said in lines)
    return Extracted((Part("\n".join(shown)),))


def _utterances(text: str) -> Iterator[tuple[str, str]]:
    """Yield speaker and text. Only blocks with a time are cues: notes, styles and the head of the file are not."""
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.split("\n")
        times = next((number for number, line in enumerate(lines) if _ARROW in line), None)
        if times is None:
            continue
        # The names of voices stand between the texts that they say.
        parts = _VOICE.split("\n".join(lines[times + 1 :]))
        for speaker, said in zip(["", *parts[1::2]], parts[0::2], strict=True):
            shown = " ".join(unescape(_TAG.sub("", said)).split())
            if shown:
                yield unescape(speaker).strip(), shown
