"""Handlers of mails: each event becomes one mail to each of its receivers."""

from datetime import UTC, datetime, timedelta
from typing import TypeVar

from schemas import Event, MailCodeRequested, MailRequested
from schemas.event import new_event_id
from streams.agents.error_mapping import mapped_errors
from streams.delivery import (
    Backoff,
    ExpiredError,
    OutOfMemoryError,
    Permanent,
    ProcessorTimeExceededError,
    Work,
    handles,
)
from streams.delivery.handler import JSON
from streams.dify.errors import RefusedError
from streams.dify.mail.addresses import checked_address
from streams.dify.mail.caller_template import render_caller_template
from streams.dify.mail.mailer import Mailer, Post
from streams.dify.mail.message import Content, make_mail
from streams.dify.mail.templates import Shown, Values, write_mail

SEND_MAIL, SEND_CODE = "send-mail", "send-code"
"""The names of the handlers. They are part of the ids of messages."""
MAX_RECEIVERS = 1000
INNER, INVITATION, NOTICE = "inner", "invite-member", "document-notice"
_NOT_IN_TEMPLATES = {"event_id", "occurred_at", "tenant_id", "kind", "to", "language", "subject", "body"}
E = TypeVar("E", MailRequested, MailCodeRequested)


@handles(
    MailRequested,
    name=SEND_MAIL,
    retry=Backoff(first="30s", factor=3, attempts=16),
    soft_time_limit="50s",
    time_limit="60s",
    needs="mail",
)
async def send_mail(event: MailRequested, work: Work) -> JSON:
    """Send a mail without a code. An invitation is not sent any more after its lifetime."""
    mailer = work.use(Mailer)
    if mailer.post is None:
        return _not_sent()
    lifetime = mailer.invitation_lifetime if event.kind == INVITATION else None
    if len(event.to) > 1:
        return await _split(event, work, lifetime)
    with mapped_errors():
        address = _receiver(event, lifetime)
        if event.kind == INNER:
            content = await _of_caller(event, work, mailer)
        else:
            content = write_mail(event.kind, event.language, _values(event), mailer.brand)
        return await _send(event, SEND_MAIL, mailer.post, address, content)


@handles(
    MailCodeRequested,
    name=SEND_CODE,
    retry=Backoff(first="5s", factor=2, attempts=20, limit="30s"),
    soft_time_limit="50s",
    time_limit="60s",
    needs="mail",
)
async def send_code(event: MailCodeRequested, work: Work) -> JSON:
    """Send a mail with a code. No attempt is made after the code's lifetime."""
    mailer = work.use(Mailer)
    if mailer.post is None:
        return _not_sent()
    if len(event.to) > 1:
        return await _split(event, work, mailer.code_lifetime)
    with mapped_errors():
        address = _receiver(event, mailer.code_lifetime)
        content = write_mail(event.kind, event.language, _values(event), mailer.brand)
        return await _send(event, SEND_CODE, mailer.post, address, content)


def _not_sent() -> JSON:
    return {"sent": False, "why": "no mail service is configured (STREAMS_MAIL_TYPE)"}


async def _split(event: E, work: Work, lifetime: float | None) -> JSON:
    """Publish one event for each receiver: a retry for one of them must not send to the others again."""
    receivers = list(dict.fromkeys(event.to))
    if len(receivers) > MAX_RECEIVERS:
        message = f"a mail to {len(receivers)} receivers; at most {MAX_RECEIVERS} are allowed"
        raise Permanent(message)
    expires_at = None if lifetime is None else _end(event, lifetime)
    for receiver in receivers:
        one = event.model_copy(update={"event_id": new_event_id(), "to": [receiver]})
        await work.publish(one, expires_at=expires_at)
    return {"sent": False, "mails": len(receivers)}


def _receiver(event: MailRequested | MailCodeRequested, lifetime: float | None) -> str:
    """Return the address of the only receiver. Raises RefusedError, or ExpiredError after the lifetime (seconds)."""
    if lifetime is not None and datetime.now(tz=UTC) >= (end := _end(event, lifetime)):
        what = "the code" if isinstance(event, MailCodeRequested) else "the invitation"
        message = f"{what} ended at {end.isoformat(timespec='seconds')}; no mail was sent since then"
        raise ExpiredError(message)
    if not event.to:
        message = "a mail without a receiver"
        raise RefusedError(message)
    return checked_address(event.to[0])


def _end(event: Event, lifetime: float) -> datetime:
    """Return when what was requested ends; `lifetime` in seconds."""
    requested = event.occurred_at
    return (requested if requested.tzinfo else requested.replace(tzinfo=UTC)) + timedelta(seconds=lifetime)


def _values(event: MailRequested | MailCodeRequested) -> Values:
    fields: dict[str, Shown | None] = event.model_dump(exclude={*_NOT_IN_TEMPLATES, "substitutions"})
    if event.kind == NOTICE and isinstance(event, MailRequested):
        fields["documents"] = event.substitutions
    return fields


async def _of_caller(event: MailRequested, work: Work, mailer: Mailer) -> Content:
    """Return the mail of the caller's own template. Raises RefusedError."""
    if event.subject is None or event.body is None:
        message = "a mail of the kind inner needs a subject and a body"
        raise RefusedError(message)
    try:
        return await work.compute_within(
            mailer.templates_timeout,
            render_caller_template,
            event.subject,
            event.body,
            dict(event.substitutions),
            mailer.templates,
        )
    except ProcessorTimeExceededError as error:
        message = f"the template needs more than {mailer.templates_timeout:g} s (STREAMS_MAIL_TEMPLATES_TIMEOUT)"
        raise RefusedError(message) from error
    except OutOfMemoryError as error:
        message = "the template needs too much memory"
        raise RefusedError(message) from error


async def _send(
    event: MailRequested | MailCodeRequested, handler: str, post: Post, address: str, content: Content
) -> JSON:
    mail = make_mail(str(event.event_id), handler, post.sender, address, content)
    await post.service.send(mail)
    return {"sent": True, "by": post.service.name, "message_id": mail.message_id}


HANDLERS = (send_mail, send_code)
