"""The checks of the mail service, which is asked for a session and sends nothing, and of who receives alerts."""

import asyncio

from streams.dify.errors import MailAwayError
from streams.dify.mail.mailer import build_mailer
from streams.dify.mail.smtp import SmtpService
from streams.observability.error_text import message
from streams.operations.doctor.finding import Finding, ok
from streams.settings import Settings, SettingsError

_SUBJECT, _ALERTS = "mail", "alerts"


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


def examine_alerts(settings: Settings) -> list[Finding]:
    """Return what alerts lack to reach the receivers that are set; nothing if none is."""
    receivers = {
        "STREAMS_ALERT_EMAILS": bool(settings.alert_emails),
        "STREAMS_ALERT_WEBHOOK_URL": settings.alert_webhook_url is not None,
    }
    if not (named := [name for name, is_set in receivers.items() if is_set]):
        return []
    if not (settings.queue_monitor_enabled or settings.dead_letter_alerts_enabled):
        text = f"nothing raises alerts for {' and '.join(named)}: both checks are off"
        remedy = "set STREAMS_DEAD_LETTER_ALERTS_ENABLED and STREAMS_QUEUE_MONITOR_ENABLED to true"
        return [Finding(_ALERTS, "warning", text, remedy)]
    if settings.alert_emails and settings.mail_type == "none":
        text = "STREAMS_ALERT_EMAILS is set, and no mail is sent"
        return [Finding(_ALERTS, "warning", text, "set STREAMS_MAIL_TYPE")]
    return [ok(_ALERTS, f"they go to {' and '.join(named)}")]
