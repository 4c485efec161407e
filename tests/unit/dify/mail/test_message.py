"""Addresses and messages: nothing can end a header or a command of SMTP."""

from email import message_from_bytes, policy

import pytest

from streams.dify.errors import RefusedError
from streams.dify.mail.addresses import Sender, checked_address, parse_sender
from streams.dify.mail.mailer import build_mailer
from streams.dify.mail.message import Content, internet_message, make_mail
from streams.settings import Settings, SettingsError

SECTION = "The whole domain"
SENDER = Sender("Acme, Inc.", "no-reply@acme.example")
HOSTILE = [
    "",
    "ada",
    "ada@",
    "@example.org",
    "ada@example.org, charles@example.org",
    "ada@example.org;charles@example.org",
    "Ada <ada@example.org>",
    "ada@example.org\r\nBcc: x@example.org",
    "ada\r\nRCPT TO:<x@example.org>@example.org",
    "ada@exam ple.org",
    "ada@example.org>\r\nDATA",
    "a\0da@example.org",
    "ada\u202e@example.org",
    ".ada@example.org",
    "ada@-example.org",
    "ada@" + "x" * 64 + ".org",
    "x" * 65 + "@example.org",
    "ada@" + ".".join(["x" * 60] * 5),
    "<ada@example.org>",
    '"ada lovelace"@example.org',
]


@pytest.mark.requirement(SECTION, "mail.requested: no address or subject can add a header or a receiver")
@pytest.mark.parametrize("value", HOSTILE)
def test_only_one_plain_address_passes(value: str) -> None:
    """The error does not repeat it."""
    with pytest.raises(RefusedError) as refused:
        checked_address(value)
    assert str(refused.value) == "a receiver is not a mail address such as name@example.com"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" ada@example.org ", "ada@example.org"),
        ("ada.l+news@sub.example.org", "ada.l+news@sub.example.org"),
        ("o'hara@example.org", "o'hara@example.org"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("用户@example.org", "用户@example.org"),
        ("ada@localhost", "ada@localhost"),
    ],
)
def test_addresses_of_people_pass(value: str, expected: str) -> None:
    assert checked_address(value) == expected


@pytest.mark.parametrize("to", ["ada@example.org", "用户@example.org"])
def test_a_subject_stays_one_header(to: str) -> None:
    """Whoever wrote it."""
    mail = make_mail("0190", "send-mail", SENDER, to, Content("Hi\r\nBcc: x@y.z\n\n<b>", "text", "<p>html</p>"))
    message = message_from_bytes(internet_message(mail, SENDER), policy=policy.default)

    assert message["Subject"] == "Hi Bcc: x@y.z <b>"
    assert message["Bcc"] is None
    assert sorted(message.keys()) == [
        "Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To",
    ]  # fmt: skip
    assert str(message["From"]) == '"Acme, Inc." <no-reply@acme.example>'
    assert str(message["To"]) == to


def test_the_ids_of_a_mail_are_those_of_its_delivery() -> None:
    content = Content("s", "t", "h")
    first, second = (make_mail("0190", "send-code", SENDER, "a@b.org", content) for _ in range(2))
    assert (
        (first.message_id, first.key)
        == (second.message_id, second.key)
        == (
            "<0190.send-code@acme.example>",
            "send-code/0190",
        )
    )


def test_both_forms_are_in_one_message() -> None:
    text = "Grüße\n\n.\n..dots\n" + "x" * 2000
    mail = make_mail("0190", "send-mail", SENDER, "a@b.org", Content("Grüße 你好", text, "<p>你好</p>"))
    raw = internet_message(mail, SENDER)
    message = message_from_bytes(raw, policy=policy.default)
    assert message["Subject"] == "Grüße 你好"
    kinds = [(one.get_content_type(), one.get_content().replace("\r\n", "\n").strip()) for one in message.iter_parts()]
    assert kinds == [("text/plain", text), ("text/html", "<p>你好</p>")]
    assert raw.isascii()
    assert max(len(line) for line in raw.split(b"\r\n")) < 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("no-reply@acme.example", Sender("", "no-reply@acme.example")),
        ("Acme <no-reply@acme.example>", Sender("Acme", "no-reply@acme.example")),
        ('"Acme, Inc." <no-reply@acme.example>', SENDER),
    ],
)
def test_a_sender_has_an_address_and_perhaps_a_name(value: str, expected: Sender) -> None:
    assert parse_sender(value) == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mail_type": "smtp"}, "STREAMS_MAIL_FROM: it is not a sender such as Name <no-reply@example.com>"),
        ({"mail_type": "resend", "mail_from": "a@b.org"}, "STREAMS_MAIL_RESEND_KEY is not set"),
        ({"mail_type": "sendgrid", "mail_from": "a@b.org"}, "STREAMS_MAIL_SENDGRID_KEY is not set"),
        (
            {"mail_type": "smtp", "mail_from": "a@b.org", "mail_smtp_tls": "tls", "mail_smtp_ca_location": "no.pem"},
            "STREAMS_MAIL_SMTP_CA_LOCATION: no.pem is not a PEM file of certificates",
        ),
    ],
)
def test_incomplete_settings_are_one_line(settings: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        build_mailer(Settings.model_validate(settings))
    assert str(refused.value).startswith(said)


def test_without_a_service_there_is_no_post() -> None:
    assert build_mailer(Settings()).post is None
