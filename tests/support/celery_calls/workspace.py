"""Calls about mails, accounts, plugins and pipelines."""

from tests.support.celery_calls.call import FILE, TENANT, USER, Call, Fields

TO = "someone@example.com"
MAILED: Fields = {"to": [TO], "language": "zh-Hans"}


def code(name: str, parameters: str, values: tuple[object, ...], fields: Fields) -> Call:
    """A mail with a code."""
    return Call(name, parameters, values, "mail.code-requested", {**MAILED, "code": "123456", **fields}, expires=True)


def mail(name: str, parameters: str, values: tuple[object, ...], fields: Fields) -> Call:
    """A mail without a code."""
    return Call(name, parameters, values, "mail.requested", {**MAILED, **fields})


MAILS = (
    mail(
        "mail_account_deletion_task.send_deletion_success_task",
        "to language?",
        (TO, "zh-Hans"),
        {"kind": "account-deletion-success"},
    ),
    code(
        "mail_account_deletion_task.send_account_deletion_verification_code",
        "to code language?",
        (TO, "123456", "zh-Hans"),
        {"kind": "account-deletion-verification"},
    ),
    code(
        "mail_change_mail_task.send_change_mail_task",
        "language to code phase",
        ("zh-Hans", TO, "123456", "old_email"),
        {"kind": "change-mail", "phase": "old_email"},
    ),
    mail(
        "mail_change_mail_task.send_change_mail_completed_notification_task",
        "language to",
        ("zh-Hans", TO),
        {"kind": "change-mail-completed"},
    ),
    code(
        "mail_email_code_login.send_email_code_login_mail_task",
        "language to code",
        ("zh-Hans", TO, "123456"),
        {"kind": "email-code-login"},
    ),
    mail(
        "mail_inner_task.send_inner_email_task",
        "to subject body substitutions",
        ([TO], "s", "{{ a }}", {"a": 1}),
        {"kind": "inner", "language": None, "subject": "s", "body": "{{ a }}", "substitutions": {"a": "1"}},
    ),
    mail(
        "mail_invite_member_task.send_invite_member_mail_task",
        "language to token inviter_name workspace_name",
        ("zh-Hans", TO, "token", "i", "w"),
        {"kind": "invite-member", "token": "token", "inviter_name": "i", "workspace_name": "w"},
    ),
    code(
        "mail_owner_transfer_task.send_owner_transfer_confirm_task",
        "language to code workspace",
        ("zh-Hans", TO, "123456", "w"),
        {"kind": "owner-transfer-confirm", "workspace_name": "w"},
    ),
    mail(
        "mail_owner_transfer_task.send_old_owner_transfer_notify_email_task",
        "language to workspace new_owner_email",
        ("zh-Hans", TO, "w", "new@example.com"),
        {"kind": "old-owner-transfer-notify", "workspace_name": "w", "new_owner_email": "new@example.com"},
    ),
    mail(
        "mail_owner_transfer_task.send_new_owner_transfer_notify_email_task",
        "language to workspace",
        ("zh-Hans", TO, "w"),
        {"kind": "new-owner-transfer-notify", "workspace_name": "w"},
    ),
    code(
        "mail_register_task.send_email_register_mail_task",
        "language to code",
        ("zh-Hans", TO, "123456"),
        {"kind": "register"},
    ),
    mail(
        "mail_register_task.send_email_register_mail_task_when_account_exist",
        "language to account_name",
        ("zh-Hans", TO, "n"),
        {"kind": "register-when-account-exists", "account_name": "n"},
    ),
    code(
        "mail_reset_password_task.send_reset_password_mail_task",
        "language to code",
        ("zh-Hans", TO, "123456"),
        {"kind": "reset-password"},
    ),
    mail(
        "mail_reset_password_task.send_reset_password_mail_task_when_account_not_exist",
        "language to is_allow_register",
        ("zh-Hans", TO, True),
        {"kind": "reset-password-when-account-not-exists", "is_allow_register": True},
    ),
)

WORKSPACES = (
    Call(
        "delete_account_task.delete_account_task",
        "account_id",
        (USER,),
        "account.deletion-requested",
        {"account_id": USER},
    ),
    Call(
        "process_tenant_plugin_autoupgrade_check_task.process_tenant_plugin_autoupgrade_check_task",
        "tenant_id strategy_setting upgrade_time_of_day upgrade_mode exclude_plugins include_plugins",
        (TENANT, "fix_only", 3600, "exclude", ["a/b"], []),
        "plugin.upgrade-check-requested",
        {
            "tenant_id": TENANT,
            "strategy_setting": "fix_only",
            "upgrade_time_of_day": 3600,
            "upgrade_mode": "exclude",
            "exclude_plugins": ["a/b"],
            "include_plugins": [],
        },
    ),
    Call(
        "rag_pipeline.rag_pipeline_run_task.rag_pipeline_run_task",
        "rag_pipeline_invoke_entities_file_id tenant_id",
        (FILE, TENANT),
        "pipeline.run-requested",
        {"tenant_id": TENANT, "file_id": FILE},
    ),
    Call(
        "rag_pipeline.priority_rag_pipeline_run_task.priority_rag_pipeline_run_task",
        "rag_pipeline_invoke_entities_file_id tenant_id",
        (FILE, TENANT),
        "pipeline.run-requested",
        {"tenant_id": TENANT, "file_id": FILE, "priority": True},
    ),
)
