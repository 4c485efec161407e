"""Reads e-mail (eml): the main headers and the body. Attachments are named, not read."""

from collections.abc import Sequence
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import cast

from streams.dify.errors import ExtractionError
from streams.dify.extraction.bounds import MAX_HEADER
from streams.dify.extraction.web.page import page_text

_SHOWN = ("From", "To", "Cc", "Date", "Subject")


class _CutHeaders(EmailPolicy):
    """Cuts header lines. The library's time for a header grows with the square of its length."""

    def header_source_parse(self, sourcelines: Sequence[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(list(sourcelines))
        return name, value[:MAX_HEADER]


_CUT_HEADERS = _CutHeaders()


def mail_text(content: bytes) -> str:
    """Return the headers as lines, the body as text, and the names of the attachments. Raises ExtractionError."""
    mail = cast("EmailMessage", message_from_bytes(content, policy=_CUT_HEADERS))
    if not any(name in mail for name in _SHOWN):
        message = "the file is not an e-mail: it has neither a sender, a subject nor a date"
        raise ExtractionError(message)
    if mail.get_content_type() in {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}:
        message = "the e-mail is encrypted: save it without encryption"
        raise ExtractionError(message)
    head = "\n".join(f"{name}: {mail[name]}" for name in _SHOWN if mail[name])
    names = [name for name in (part.get_filename() for part in mail.iter_attachments()) if name]
    attached = f"Attachments: {', '.join(names)}" if names else ""
    return "\n\n".join(part for part in (head, _body(mail), attached) if part)


def _body(mail: EmailMessage) -> str:
    body = mail.get_body(("plain", "html"))
    if body is None:
        return ""
    text = str(body.get_content()).replace("\r\n", "\n").strip()
    return page_text(text) if body.get_content_subtype() == "html" else text
