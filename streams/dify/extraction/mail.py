"""Reads e-mail (eml): the main headers and the body. Attachments are named, not read."""

from email import message_from_bytes, policy
from email.message import EmailMessage

from streams.dify.errors import ExtractionError
from streams.dify.extraction.page import page_text

_SHOWN = ("From", "To", "Cc", "Date", "Subject")


def mail_text(content: bytes) -> str:
    """Return the headers as lines, the body as text, and the names of the attachments. Raises ExtractionError."""
    mail = message_from_bytes(content, policy=policy.default)
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
