"""The check of the mail service: it is asked for a session, and no mail is sent."""

import asyncio

from streams.dify.errors import MailAwayError
from streams.dify.mail.mailer import build_mailer
from streams.dify.mail.smtp import SmtpService
from streams.observability.error_text import message
from streams.operations.doctor.finding import Finding, ok
from streams.settings import Settings, SettingsError

_SUBJECT = "mail"


def examine_mail(settings: Settings) -> Finding:
    """Open a session with the SMTP server and log in. The APIs have no request that sends nothing."""
    try:
        post = build_mailer(settings).post
    except SettingsError as error:
        return Finding(_SUBJECT, "fail", str(error), "correct the setting")
    if post is None:
        return ok(_SUBJECT, "STREAMS_MAIL_TYPE is none: no mail is sent")
    if not isinstance(post.service, SmtpService):
        return ok(_SUBJECT, f"{settings.mail_type} has a key, which was not tried")
    try:
        asyncio.run(post.service.check())
    except MailAwayError as error:
        return Finding(
            _SUBJECT, "fail", message(error), "start the server, or correct STREAMS_MAIL_SMTP_HOST and its port"
        )
    except Exception as error:  # noqa: BLE001 - any error of the server is what was to be found
        return Finding(_SUBJECT, "fail", message(error), "correct STREAMS_MAIL_SMTP_… (encryption, name, password)")
    return ok(_SUBJECT, "the SMTP server accepts a session")
