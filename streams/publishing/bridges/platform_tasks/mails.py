"""Tasks that send mails. The arguments' order differs from task to task, as on the platform."""

from collections.abc import Mapping, Sequence

from schemas import Event, MailCodeRequested, MailRequested
from streams.publishing.bridges.json_values import json_object
from streams.publishing.bridges.platform_tasks.task import PlatformTask

ENGLISH = "en-US"


def send_deletion_success_task(to: str, language: str = ENGLISH) -> Event:
    """Return the mail after an account was deleted."""
    return MailRequested(kind="account-deletion-success", to=_addresses(to), language=language)


def send_account_deletion_verification_code(to: str, code: str, language: str = ENGLISH) -> Event:
    """Return the mail with the code for deleting an account."""
    return MailCodeRequested(kind="account-deletion-verification", to=_addresses(to), code=code, language=language)


def send_change_mail_task(language: str, to: str, code: str, phase: str) -> Event:
    """Return the mail with the code for changing the address. Phase: old_email or new_email."""
    return MailCodeRequested(kind="change-mail", to=_addresses(to), code=code, language=language, phase=phase)


def send_change_mail_completed_notification_task(language: str, to: str) -> Event:
    """Return the mail after the address was changed."""
    return MailRequested(kind="change-mail-completed", to=_addresses(to), language=language)


def send_email_code_login_mail_task(language: str, to: str, code: str) -> Event:
    """Return the mail with the code for signing in."""
    return MailCodeRequested(kind="email-code-login", to=_addresses(to), code=code, language=language)


def send_inner_email_task(
    to: str | Sequence[str], subject: str, body: str, substitutions: Mapping[str, object] | None = None
) -> Event:
    """Return a mail with the caller's own subject and template."""
    given = json_object(substitutions or {}, "substitutions")
    values = {str(name): str(value) for name, value in given.items()}
    return MailRequested(kind="inner", to=_addresses(to), subject=subject, body=body, substitutions=values)


def send_invite_member_mail_task(language: str, to: str, token: str, inviter_name: str, workspace_name: str) -> Event:
    """Return the invitation to a workspace."""
    return MailRequested(
        kind="invite-member",
        to=_addresses(to),
        language=language,
        token=token,
        inviter_name=inviter_name,
        workspace_name=workspace_name,
    )


def send_owner_transfer_confirm_task(language: str, to: str, code: str, workspace: str) -> Event:
    """Return the mail with the code for giving a workspace to another owner."""
    return MailCodeRequested(
        kind="owner-transfer-confirm", to=_addresses(to), code=code, language=language, workspace_name=workspace
    )


def send_old_owner_transfer_notify_email_task(language: str, to: str, workspace: str, new_owner_email: str) -> Event:
    """Return the mail to the former owner of a workspace."""
    return MailRequested(
        kind="old-owner-transfer-notify",
        to=_addresses(to),
        language=language,
        workspace_name=workspace,
        new_owner_email=new_owner_email,
    )


def send_new_owner_transfer_notify_email_task(language: str, to: str, workspace: str) -> Event:
    """Return the mail to the new owner of a workspace."""
    return MailRequested(
        kind="new-owner-transfer-notify", to=_addresses(to), language=language, workspace_name=workspace
    )


def send_email_register_mail_task(language: str, to: str, code: str) -> Event:
    """Return the mail with the code for registering."""
    return MailCodeRequested(kind="register", to=_addresses(to), code=code, language=language)


def send_email_register_mail_task_when_account_exist(language: str, to: str, account_name: str) -> Event:
    """Return the mail to a person who registers again."""
    return MailRequested(
        kind="register-when-account-exists", to=_addresses(to), language=language, account_name=account_name
    )


def send_reset_password_mail_task(language: str, to: str, code: str) -> Event:
    """Return the mail with the code for a new password."""
    return MailCodeRequested(kind="reset-password", to=_addresses(to), code=code, language=language)


def send_reset_password_mail_task_when_account_not_exist(language: str, to: str, is_allow_register: bool) -> Event:  # noqa: FBT001 - the task's signature
    """Return the mail to a person who has no account and asks for a new password."""
    return MailRequested(
        kind="reset-password-when-account-not-exists",
        to=_addresses(to),
        language=language,
        is_allow_register=is_allow_register,
    )


def _addresses(to: str | Sequence[str]) -> list[str]:
    return [to] if isinstance(to, str) else list(to)


TASKS = (
    PlatformTask("tasks.mail_account_deletion_task.send_deletion_success_task", send_deletion_success_task),
    PlatformTask(
        "tasks.mail_account_deletion_task.send_account_deletion_verification_code",
        send_account_deletion_verification_code,
        has_code=True,
    ),
    PlatformTask("tasks.mail_change_mail_task.send_change_mail_task", send_change_mail_task, has_code=True),
    PlatformTask(
        "tasks.mail_change_mail_task.send_change_mail_completed_notification_task",
        send_change_mail_completed_notification_task,
    ),
    PlatformTask(
        "tasks.mail_email_code_login.send_email_code_login_mail_task", send_email_code_login_mail_task, has_code=True
    ),
    PlatformTask("tasks.mail_inner_task.send_inner_email_task", send_inner_email_task),
    PlatformTask("tasks.mail_invite_member_task.send_invite_member_mail_task", send_invite_member_mail_task),
    PlatformTask(
        "tasks.mail_owner_transfer_task.send_owner_transfer_confirm_task",
        send_owner_transfer_confirm_task,
        has_code=True,
    ),
    PlatformTask(
        "tasks.mail_owner_transfer_task.send_old_owner_transfer_notify_email_task",
        send_old_owner_transfer_notify_email_task,
    ),
    PlatformTask(
        "tasks.mail_owner_transfer_task.send_new_owner_transfer_notify_email_task",
        send_new_owner_transfer_notify_email_task,
    ),
    PlatformTask(
        "tasks.mail_register_task.send_email_register_mail_task", send_email_register_mail_task, has_code=True
    ),
    PlatformTask(
        "tasks.mail_register_task.send_email_register_mail_task_when_account_exist",
        send_email_register_mail_task_when_account_exist,
    ),
    PlatformTask(
        "tasks.mail_reset_password_task.send_reset_password_mail_task", send_reset_password_mail_task, has_code=True
    ),
    PlatformTask(
        "tasks.mail_reset_password_task.send_reset_password_mail_task_when_account_not_exist",
        send_reset_password_mail_task_when_account_not_exist,
    ),
)
