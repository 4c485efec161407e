"""The mails of one deployment as one value. Handlers get it by `work.use(Mailer)`."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from streams.dify.errors import RefusedError
from streams.dify.http import Timeouts
from streams.dify.mail.addresses import Sender, parse_sender
from streams.dify.mail.apis import ResendService, SendGridService
from streams.dify.mail.caller_template import Mode
from streams.dify.mail.port import MailService
from streams.dify.mail.smtp import SmtpService
from streams.dify.mail.templates import Brand
from streams.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class Post:
    """A configured service and the sender of its mails."""

    service: MailService
    sender: Sender


@dataclass(frozen=True, slots=True)
class Mailer:
    """How mails are written and sent."""

    post: Post | None
    """None: no service is configured, and no mail is sent."""
    brand: Brand
    code_lifetime: float
    """Seconds from the request of a code to its end."""
    invitation_lifetime: float
    templates: Mode
    templates_timeout: float
    """Seconds of processor time for a caller's template."""


def build_mailer(settings: Settings) -> Mailer:
    """Create the mailer of the settings. No connection is opened. Raises SettingsError."""
    return Mailer(
        post=_post(settings),
        brand=Brand(settings.mail_brand_name, settings.mail_brand_logo_url, settings.mail_console_url.rstrip("/")),
        code_lifetime=settings.mail_code_lifetime,
        invitation_lifetime=settings.mail_invitation_lifetime,
        templates=settings.mail_templates,
        templates_timeout=settings.mail_templates_timeout,
    )


def _post(settings: Settings) -> Post | None:
    if settings.mail_type == "none":
        return None
    try:
        sender = parse_sender(settings.mail_from)
    except RefusedError as error:
        message = f"STREAMS_MAIL_FROM: {error}"
        raise SettingsError(message) from error
    timeouts = Timeouts(settings.mail_connect_timeout, settings.mail_request_timeout)
    if settings.mail_type == "resend":
        key = _needed("STREAMS_MAIL_RESEND_KEY", settings.mail_resend_key)
        return Post(ResendService(settings.mail_resend_url.rstrip("/"), key, sender, timeouts), sender)
    if settings.mail_type == "sendgrid":
        key = _needed("STREAMS_MAIL_SENDGRID_KEY", settings.mail_sendgrid_key)
        return Post(SendGridService(settings.mail_sendgrid_url.rstrip("/"), key, sender, timeouts), sender)
    service = SmtpService(
        host=settings.mail_smtp_host,
        port=settings.mail_smtp_port,
        sender=sender,
        tls=settings.mail_smtp_tls,
        tls_context=None if settings.mail_smtp_tls == "none" else _tls_context(settings.mail_smtp_ca_location),
        username=settings.mail_smtp_username,
        password=settings.mail_smtp_password,
        connect_timeout=settings.mail_connect_timeout,
        request_timeout=settings.mail_request_timeout,
    )
    return Post(service, sender)


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        message = f"STREAMS_MAIL_SMTP_CA_LOCATION: {ca_file} is not a PEM file of certificates: {error}"
        raise SettingsError(message) from error


def _needed(name: str, key: SecretStr | None) -> SecretStr:
    if key is None:
        message = f"{name} is not set, and STREAMS_MAIL_TYPE needs it"
        raise SettingsError(message)
    return key
