"""Mails to people. Codes expire within minutes and have a topic of their own; an invitation is valid for days."""

from typing import Annotated

from pydantic import Field

from schemas.event import Event
from schemas.sensitivity import Personal, Secret


class MailRequested(Event):
    """Send a mail without a code."""

    kind: str
    """account-deletion-success, change-mail-completed, document-notice, inner, invite-member,
    old-owner-transfer-notify, new-owner-transfer-notify, register-when-account-exists or
    reset-password-when-account-not-exists."""
    to: Annotated[list[str], Personal]
    """Mail addresses."""
    language: str | None = None
    """The receiver's language, such as zh-Hans; null is English."""
    token: Annotated[str | None, Secret] = None
    """Of an invitation."""
    inviter_name: Annotated[str | None, Personal] = None
    workspace_name: Annotated[str | None, Personal] = None
    new_owner_email: Annotated[str | None, Personal] = None
    account_name: Annotated[str | None, Personal] = None
    is_allow_register: bool | None = None
    """Of a password reset without an account: whether the person can register."""
    subject: Annotated[str | None, Personal] = None
    """Of an `inner` mail: the caller's own subject and template."""
    body: Annotated[str | None, Personal] = None
    substitutions: Annotated[dict[str, str], Personal] = Field(default_factory=dict)
    """Of an `inner` mail: the values of its template. Of a document-notice: knowledge base → number of documents."""


class MailCodeRequested(Event):
    """Send a mail with a code, which is valid for minutes. No attempt is made after that."""

    kind: str
    """account-deletion-verification, change-mail, email-code-login, owner-transfer-confirm, register or
    reset-password."""
    to: Annotated[list[str], Personal]
    language: str | None = None
    code: Annotated[str, Secret]
    phase: str | None = None
    """Of change-mail: old_email or new_email."""
    workspace_name: Annotated[str | None, Personal] = None
