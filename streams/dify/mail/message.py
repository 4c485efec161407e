"""One mail to one receiver, and its form as an Internet message (RFC 5322)."""

from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, localtime

from streams.dify.mail.addresses import Sender

_MAX_SUBJECT = 300
"""Characters of a subject."""
AUTOMATIC = "auto-generated"
"""The value of Auto-Submitted: no holiday notice answers such a mail (RFC 3834)."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a mail says: the subject, and the text in two forms."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail. A repeated attempt has the same `key` and `message_id`."""

    to: str
    content: Content
    key: str
    """Identifies the delivery, for services that recognise repeated requests."""
    message_id: str
    """With angle brackets."""


def one_line(text: str, limit: int) -> str:
    """Return a text in one line without control characters, cut to `limit` characters.

    A line break in a subject would begin another header.
    """
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())[:limit]


def make_mail(event_id: str, handler: str, sender: Sender, to: str, content: Content) -> Mail:
    """Return the mail of a delivery. Its ids are the same in each attempt.

    Args:
        event_id: The event that requests the mail.
        handler: The name of the handler that sends it.
        sender: From whom it comes.
        to: A checked address.
        content: What it says.
    """
    line = Content(one_line(content.subject, _MAX_SUBJECT), content.text, content.html)
    return Mail(to, line, f"{handler}/{event_id}", f"<{event_id}.{handler}@{sender.domain}>")


def internet_message(mail: Mail, sender: Sender) -> bytes:
    """Return the bytes for SMTP. Bodies are in 7 bits; only an address outside ASCII needs SMTPUTF8."""
    message = EmailMessage(policy=SMTP if mail.to.isascii() else SMTPUTF8)
    message["From"] = Address(sender.name, addr_spec=sender.address)
    local, _, domain = mail.to.rpartition("@")
    message["To"] = Address(username=local, domain=domain)
    message["Subject"] = mail.content.subject
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = mail.message_id
    message["Auto-Submitted"] = AUTOMATIC
    message.set_content(mail.content.text, cte="base64")
    message.add_alternative(mail.content.html, subtype="html", cte="base64")
    return message.as_bytes()
