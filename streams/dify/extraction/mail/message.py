"""Reads e-mail (eml): the main headers, all text, and enclosed messages. Attachments are named, not read."""

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from itertools import groupby
from typing import NamedTuple

from streams.dify.errors import ExtractionError
from streams.dify.extraction.bounds import within_characters
from streams.dify.extraction.encodings import decode_mail, decode_text
from streams.dify.extraction.mail.body import decoded_body
from streams.dify.extraction.mail.headers import SHOWN, CutHeaders, all_headers, file_name, shown_headers
from streams.dify.extraction.result import Extracted, Part
from streams.dify.extraction.web.page import declared_encoding, page_text

MAX_DEPTH = 50
"""Of parts within parts, and messages within messages."""
MAX_PARTS = 10_000
_ENCRYPTED = {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}
_MARKED_UP = {"text/html", "application/xhtml+xml"}
_ENRICHED = {"text/enriched", "text/richtext"}
_NOT_SHOWN = {
    *("text/css", "text/directory", "text/javascript", "text/rtf", "text/vcard", "text/watch-html"),
    *("text/x-amp-html", "text/x-vcard"),
}
"""Text parts that no mail program shows as text."""
_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_HEAD = 64
"""Bytes of the first header. In UTF-16 every second one is zero."""
_LAST_CHOICE = {"text/calendar"}
"""An alternative with the fields of an appointment. It is read if there is no other."""
_ADDRESS = re.compile(r"https?://\S+")


class _Text(NamedTuple):
    message: int
    """The message that it is part of. They are numbered from 0."""
    text: str


def mail_text(content: bytes) -> Extracted:
    """Return the headers as lines, the text, and the names of the attachments; each enclosed message is a part.

    Raises ExtractionError.
    """
    try:
        # Editors and exports write a byte order mark or blank lines before the headers.
        mail = message_from_bytes(_narrow(content).removeprefix(_MARK).lstrip(b"\r\n"), policy=CutHeaders())
        if not any(name in mail for name in SHOWN):
            message = "the file is not an e-mail: it has neither a sender, a subject nor a date"
            raise ExtractionError(message)
        if mail.get_content_type() in _ENCRYPTED:
            kind = "signed as a whole" if mail.get_param("smime-type") == "signed-data" else "encrypted"
            message = f"the e-mail is {kind} (S/MIME or PGP): open it, and save or forward it as a plain e-mail"
            raise ExtractionError(message)
        texts = _MailReader().message(mail, 0)
    except RecursionError as error:
        raise ExtractionError(_TOO_DEEP) from error
    parts = ["\n\n".join(text for _, text in group) for _, group in groupby(texts, key=lambda text: text.message)]
    within = list(within_characters(parts))
    if len(within) == 1:
        return Extracted((Part(within[0]),))
    return Extracted(tuple(Part(text, {"part": number}) for number, text in enumerate(within, start=1)))


def _narrow(content: bytes) -> bytes:
    """Return a file that was saved in UTF-16 or UTF-32 as UTF-8. Its parts are bytes of their own only if encoded."""
    if not content.startswith(_WIDE_MARKS) and b"\x00" not in content[:_HEAD]:
        return content
    try:
        return decode_text(content).encode()
    except ExtractionError:  # a part that is binary
        return content


_TOO_DEEP = f"the e-mail has parts within parts, more than {MAX_DEPTH} deep"


class _MailReader:
    """Reads the parts of one file, and counts them."""

    def __init__(self) -> None:
        self._messages = 0
        self._parts = 0

    def message(self, mail: Message, depth: int) -> list[_Text]:
        """Return the texts of a message. The names of its attachments stand before the messages that it encloses."""
        number = self._messages
        self._messages += 1
        body = self._part(mail, number, depth)
        names = list(dict.fromkeys(_attached(mail, is_root=True)))
        attached = [_Text(number, f"Attachments: {', '.join(names)}")] if names else []
        own = next((place for place, text in enumerate(body) if text.message != number), len(body))
        texts = [_Text(number, shown_headers(mail)), *body[:own], *attached, *body[own:]]
        return [text for text in texts if text.text]

    def _part(self, part: Message, number: int, depth: int) -> list[_Text]:
        self._parts += 1
        if depth > MAX_DEPTH:
            raise ExtractionError(_TOO_DEEP)
        if self._parts > MAX_PARTS:
            message = f"the e-mail has more than {MAX_PARTS:,} parts"
            raise ExtractionError(message)
        kind = part.get_content_type()
        if not part.is_multipart():
            text = _leaf_text(part, kind)
            return [_Text(number, text)] if text else []
        inner = _inner(part, kind)
        if kind == "message/delivery-status":
            return [_Text(number, "\n\n".join(filter(None, map(all_headers, inner))))]
        if kind.startswith("message/"):
            return [text for enclosed in inner for text in self.message(enclosed, depth + 1)]
        choices = [self._part(one, number, depth + 1) for one in inner]
        if kind == "multipart/alternative":
            return self._richest(inner, choices)
        return [text for texts in choices for text in texts]

    @staticmethod
    def _richest(inner: list[Message], choices: list[list[_Text]]) -> list[_Text]:
        """Return the alternative with the most words. Links do not count: only plain text shows their addresses."""
        ranked = [
            (part.get_content_type() not in _LAST_CHOICE, sum(_words(text.text) for text in texts), texts)
            for part, texts in zip(inner, choices, strict=True)
            if texts
        ]
        return max(ranked, key=lambda choice: choice[:2])[2] if ranked else []


def _inner(part: Message, kind: str) -> list[Message]:
    """Return the parts of a part. The library does not decode an enclosed message that is in base64 as a whole."""
    inner = [inner for inner in part.get_payload() if isinstance(inner, Message)]
    encoding = str(part.get("content-transfer-encoding", "")).strip().lower()
    if kind.startswith("message/") and encoding == "base64" and len(inner) == 1 and not inner[0].keys():
        inner[0]["content-transfer-encoding"] = encoding
        content = inner[0].get_payload(decode=True)
        return [message_from_bytes(content, policy=CutHeaders())] if isinstance(content, bytes) else inner
    return inner


def _words(text: str) -> int:
    return len(re.findall(r"\w+", _ADDRESS.sub("", text)))


def _leaf_text(part: Message, kind: str) -> str:
    """Return the text of a part without parts; nothing if it is an attachment or no text."""
    if part.get_content_disposition() == "attachment" or kind in _NOT_SHOWN:
        return ""
    if part.get_content_maintype() not in {"text", "multipart"} and kind not in _MARKED_UP:
        return ""
    # A multipart whose boundary never comes is text, too.
    body = decoded_body(part)
    if body is None:
        return ""
    charset = _charset(part)
    added = _lines(body.added, charset)
    if kind in _MARKED_UP:
        page = page_text(decode_mail(body.content, charset or declared_encoding(body.content)))
        return "\n\n".join(filter(None, (page, added)))
    text = _lines(body.content, charset)
    if kind in _ENRICHED:
        text = re.sub(r"<[^<>\n]{1,60}>", "", text.replace("<<", "&lt;")).replace("&lt;", "<")
    return "\n\n".join(filter(None, (text.strip(), added)))


def _lines(content: bytes, charset: str) -> str:
    return decode_mail(content, charset).replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")


def _charset(part: Message) -> str:
    try:
        return part.get_content_charset() or ""
    except (LookupError, ValueError):  # a charset that declares a charset of its own
        return ""


def _attached(part: Message, *, is_root: bool = False, is_shown: bool = False) -> Iterator[str]:
    """Yield the names of the files of a message. Pictures within its text are none, and enclosed messages have theirs.

    Args:
        part: the message, or a part of it.
        is_root: whether it is the message.
        is_shown: whether the text beside it shows it.
    """
    kind = part.get_content_type()
    if not is_root and (not part.is_multipart() or kind.startswith("message/")):
        name = file_name(part)
        if name and not (is_shown and part.get_content_disposition() != "attachment"):
            yield name
    elif part.is_multipart() and not kind.startswith("message/"):
        for inner in part.get_payload():
            if isinstance(inner, Message):
                yield from _attached(inner, is_shown=kind == "multipart/related" and not is_root)
    elif is_root and file_name(part):
        yield file_name(part)
