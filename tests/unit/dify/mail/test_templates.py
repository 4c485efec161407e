"""Our own mails: every kind in both languages, with its values and nothing that they could smuggle in."""

import pytest

from streams.dify.errors import RefusedError
from streams.dify.mail.message import Content
from streams.dify.mail.templates import CODE_KINDS, LANGUAGES, Brand, Values, load_texts, write_mail

SECTION = "The whole domain"
BRAND = Brand("Acme", None, "https://console.example")
VALUES: Values = {
    "code": "493817",
    "phase": "old_email",
    "token": "t/k+n",
    "inviter_name": "Ada",
    "workspace_name": "Engines",
    "new_owner_email": "charles@example.org",
    "account_name": "Ada L.",
    "is_allow_register": True,
    "documents": {"Hand\nbook": "3", "<Laws>": "12"},
}
WITHOUT = {
    "account-deletion-success",
    "change-mail-completed",
    "document-notice",
    "invite-member",
    "new-owner-transfer-notify",
    "old-owner-transfer-notify",
    "register-when-account-exists",
    "reset-password-when-account-not-exists",
}


def values_of(kind: str) -> Values:
    return {name: value for name, value in VALUES.items() if name != "code" or kind in CODE_KINDS}


def invite(**values: str) -> Content:
    return write_mail("invite-member", None, {**values_of("invite-member"), **values}, BRAND)


@pytest.mark.requirement(SECTION, "mail.requested: the mails of the platform in English and Chinese")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", sorted(CODE_KINDS | WITHOUT))
def test_every_kind_has_a_mail_in_both_languages(kind: str, language: str) -> None:
    """In both forms, with the name of the deployment; a code is in the bodies and not in the subject."""
    mail = write_mail(kind, language, values_of(kind), BRAND)

    assert mail.subject
    assert "\n" not in mail.subject
    assert "Acme" in mail.text
    assert "Acme" in mail.html
    assert f'<html lang="{language}">' in mail.html
    assert ("493817" in mail.text, "493817" in mail.html) == (kind in CODE_KINDS, kind in CODE_KINDS)
    assert "493817" not in mail.subject
    assert "{" not in mail.subject + mail.text


@pytest.mark.requirement("Schedules", "mail-clean-document-notify: in English and Chinese, one line for each dataset")
def test_a_notice_has_one_line_for_each_knowledge_base() -> None:
    """A line break in a name begins no paragraph, and nothing in it is HTML."""
    english, chinese = (
        write_mail("document-notice", language, values_of("document-notice"), BRAND) for language in LANGUAGES
    )
    assert "Hand book: 3\n" in english.text
    assert "Hand book\uff1a3" in chinese.text
    assert "&lt;Laws&gt;: 12" in english.html
    assert "https://console.example/datasets" in english.text


def test_the_languages_have_the_same_kinds() -> None:
    kinds = [set(load_texts(language).mails) for language in LANGUAGES]
    assert kinds == [CODE_KINDS | WITHOUT] * 2


@pytest.mark.parametrize(
    ("language", "word"), [("zh-Hans", "邀请"), ("en-US", "invites"), (None, "invites"), ("fr-FR", "invites")]
)
def test_the_language_is_chinese_or_else_english(language: str | None, word: str) -> None:
    assert word in write_mail("invite-member", language, values_of("invite-member"), BRAND).subject


def test_an_invitation_links_to_the_console_with_its_token() -> None:
    mail = invite()
    for body in (mail.text, mail.html):
        assert "https://console.example/activate?token=t%2Fk%2Bn" in body


def test_values_are_escaped_in_html_and_stay_in_their_line() -> None:
    """A workspace name can neither be markup, nor another header, nor a paragraph that pretends to be ours."""
    mail = invite(workspace_name="<b>x</b>\r\nBcc: a@b.c\n\nPay now", inviter_name="A\u202eda")
    assert "\n" not in mail.subject
    assert "\r" not in mail.subject
    assert "<b>x" not in mail.html
    assert "&lt;b&gt;x&lt;/b&gt; Bcc: a@b.c Pay now" in mail.html
    assert "\u202e" not in mail.text + mail.html + mail.subject


def test_a_template_in_a_value_is_only_text() -> None:
    mail = invite(inviter_name="{{ token }}")
    assert mail.subject.startswith("{{ token }} invites")


def test_a_long_name_is_cut() -> None:
    assert len(invite(workspace_name="x" * 9000).subject) <= 200


@pytest.mark.requirement(SECTION, "mail.requested: the name and the logo of a deployment are settings")
def test_the_brand_is_in_each_mail() -> None:
    with_logo = Brand("Acme", 'https://acme.example/a.png"onerror="x', "https://console.example")
    mail = write_mail("register", None, VALUES, with_logo)
    assert '<img src="https://acme.example/a.png&#34;onerror=&#34;x" alt="Acme"' in mail.html
    assert mail.subject == "Your code to join Acme"


@pytest.mark.parametrize(
    ("kind", "missing", "said"),
    [
        ("invite-member", "inviter_name", "needs a field that the event does not have: 'inviter_name' is undefined"),
        ("invite-member", "token", "needs a token"),
        ("change-mail", "phase", "needs the phase new_email or old_email"),
        ("old-owner-transfer-notify", "new_owner_email", "'new_owner_email' is undefined"),
        ("register", "code", "a mail of the kind register needs a code"),
        ("birthday", "", "there is no mail of the kind 'birthday'; known: account-deletion-success"),
    ],
)
def test_what_a_mail_lacks_is_named(kind: str, missing: str, said: str) -> None:
    with pytest.raises(RefusedError) as refused:
        write_mail(kind, None, {**values_of(kind), missing: None}, BRAND)
    assert said in str(refused.value)


def test_a_mail_without_a_code_gets_none() -> None:
    with pytest.raises(RefusedError, match="a mail of the kind change-mail-completed has no code"):
        write_mail("change-mail-completed", None, VALUES, BRAND)


def test_without_registration_the_mail_links_to_nothing() -> None:
    kind = "reset-password-when-account-not-exists"
    assert "/signup" in write_mail(kind, None, values_of(kind), BRAND).text
    assert "/signup" not in write_mail(kind, None, {**values_of(kind), "is_allow_register": False}, BRAND).text
