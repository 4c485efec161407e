"""The settings of mails: by which service they are sent, from whom, and what their templates may do."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from streams.durations import Seconds
from streams.urls import check_urls


class MailSettings(BaseModel):
    """SMTP, Resend or SendGrid."""

    mail_type: Literal["none", "smtp", "resend", "sendgrid"] = Field(
        "none", description="the service that sends mails; 'none': no mail is sent, and that is no failure"
    )
    mail_from: str = Field("", max_length=320, description="the sender's address, such as Name <no-reply@example.com>")
    mail_smtp_host: str = "127.0.0.1"
    mail_smtp_port: int = Field(25, ge=1, le=65535)
    mail_smtp_username: str | None = None
    mail_smtp_password: SecretStr | None = None
    mail_smtp_tls: Literal["none", "starttls", "tls"] = "none"
    mail_smtp_ca_location: Path | None = Field(None, description="PEM file of the authorities; unset: the system's")
    mail_resend_url: str = "https://api.resend.com"
    mail_resend_key: SecretStr | None = None
    mail_sendgrid_url: str = "https://api.sendgrid.com"
    mail_sendgrid_key: SecretStr | None = None
    mail_connect_timeout: Seconds = 5.0
    mail_request_timeout: Seconds = Field(30.0, description="seconds for sending one mail")
    mail_console_url: str = Field("http://127.0.0.1:3000", description="the platform's CONSOLE_WEB_URL, for links")
    mail_brand_name: str = Field("Dify", min_length=1, max_length=100, description="the platform's name in mails")
    mail_brand_logo_url: str | None = Field(None, description="the logo above each mail; unset: the name as text")
    mail_code_lifetime: Seconds = Field(300.0, description="how long a code is valid; no attempt is made after that")
    mail_invitation_lifetime: Seconds = Field(
        259_200.0, description="how long an invitation is valid, the platform's INVITE_EXPIRY_HOURS; no later attempt"
    )
    mail_templates: Literal["sandbox", "unsafe", "disabled"] = Field(
        "sandbox", description="how a caller's own template is rendered, the platform's MAIL_TEMPLATING_MODE"
    )
    mail_templates_timeout: Seconds = Field(3.0, description="seconds for rendering a caller's own template")

    @field_validator("mail_resend_url", "mail_sendgrid_url", "mail_console_url")
    @classmethod
    def _check_mail_url(cls, value: str) -> str:
        return check_urls(value, ("http", "https"))

    @field_validator("mail_brand_logo_url")
    @classmethod
    def _check_logo_url(cls, value: str | None) -> str | None:
        return None if value is None else check_urls(value, ("http", "https"))
