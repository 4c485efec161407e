"""Decodes the body of a part. Mailing lists add their lines to bodies in base64 as they are."""

import binascii
import re
from email.message import Message
from typing import NamedTuple

_LINE = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_SHORT = 60
"""Characters of a line. After the end of a block, a shorter one is a word and no base64."""


class Body(NamedTuple):
    """The bytes of a part."""

    content: bytes
    added: bytes = b""
    """Lines after its base64 that are not encoded."""


def decoded_body(part: Message) -> Body | None:
    """Return the body of a part without parts; None: it has none."""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return None
    encoded = part.get_payload()
    if str(part.get("content-transfer-encoding", "")).strip().lower() != "base64" or not isinstance(encoded, str):
        return Body(content)
    blocks, added = _blocks(encoded)
    if len(blocks) == 1 and not added:
        return Body(content)
    try:
        content = b"".join(binascii.a2b_base64(block + "=" * (-len(block) % 4)) for block in blocks)
    except binascii.Error:
        return Body(content)
    return Body(content, added.encode("utf-8", "surrogateescape"))


def _blocks(encoded: str) -> tuple[list[str], str]:
    """Return the blocks of base64, each up to its padding, and the lines after them."""
    blocks: list[str] = []
    block: list[str] = []
    lines = encoded.splitlines()
    end = len(lines)
    for number, line in enumerate(map(str.strip, lines)):
        is_word = bool(blocks) and not block and len(line) < _SHORT and not line.endswith("=")
        if not _LINE.fullmatch(line) or (is_word and line):
            end = number
            break
        block.append(line)
        if line.endswith("="):
            blocks.append("".join(block))
            block = []
    if any(block) or not blocks:
        blocks.append("".join(block))
    return blocks, "\n".join(lines[end:]).strip()
