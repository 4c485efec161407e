"""Mails by SMTP, to a server that accepts, rejects, is silent, or speaks nonsense."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schemas import Event, MailCodeRequested, MailRequested
from streams.agents.workspace.mail import MAX_RECEIVERS, send_code, send_mail
from streams.delivery import ExpiredError, Permanent, Reason, Unavailable
from streams.delivery.handler import Handler
from streams.delivery.settlement.decision import Again, Dead, decide
from streams.dify.errors import MailServiceError
from streams.dify.mail.mailer import Mailer, build_mailer
from streams.settings import Settings
from streams.testing import Run, run
from tests.support.certificates import make_certificates
from tests.support.fakes.mail_server import MailServer, Reply, mail_server

SECTION = "The whole domain"
ADA, CHARLES = "ada.lovelace@example.org", "charles@example.org"


@dataclass
class Office:
    """A mail server, and settings for it."""

    server: MailServer
    port: int

    def mailer(self, **settings: object) -> Mailer:
        return build_mailer(
            Settings.model_validate(
                {
                    "mail_type": "smtp",
                    "mail_from": "Acme <no-reply@acme.example>",
                    "mail_smtp_port": self.port,
                    "mail_connect_timeout": 20,
                    "mail_request_timeout": 20,
                    **settings,
                }
            )
        )

    async def send(self, event: MailRequested | MailCodeRequested, **settings: object) -> Run:
        return await run(handler_of(event), event, services=[self.mailer(**settings)])


@pytest.fixture
def office() -> Iterator[Office]:
    with mail_server() as (server, port):
        yield Office(server, port)


def handler_of(event: MailRequested | MailCodeRequested) -> Handler[Event]:
    return send_mail if isinstance(event, MailRequested) else send_code


def invitation(*to: str) -> MailRequested:
    return MailRequested(
        kind="invite-member",
        to=list(to or (ADA,)),
        token="tok/en-8731",
        inviter_name="Charles",
        workspace_name="Engines",
    )


def code(**fields: object) -> MailCodeRequested:
    return MailCodeRequested.model_validate(
        {"kind": "email-code-login", "to": [ADA], "code": "493817", "language": "zh-Hans", **fields}
    )


@pytest.mark.requirement(SECTION, "mail.requested: sent by SMTP, in two forms, with the id of the delivery")
async def test_a_mail_arrives(office: Office) -> None:
    event = invitation()
    done = await office.send(event)

    (mail,) = office.server.received
    message_id = f"<{event.event_id}.send-mail@acme.example>"
    assert done.result == {"sent": True, "by": "smtp", "message_id": message_id}
    assert (mail.sender.partition(" ")[0], mail.receiver) == ("FROM:<no-reply@acme.example>", ADA)
    assert mail.message["Message-ID"] == message_id
    assert mail.message["Subject"] == "Charles invites you to Engines on Dify"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    for part in (mail.part("plain"), mail.part("html")):
        assert "http://127.0.0.1:3000/activate?token=tok%2Fen-8731" in part


async def test_a_repeated_mail_has_the_same_id(office: Office) -> None:
    """A mail server or a mailbox that has both can tell that they are one."""
    event = code()
    for _ in range(2):
        await office.send(event)
    assert {one.message["Message-ID"] for one in office.server.received} == {
        f"<{event.event_id}.send-code@acme.example>"
    }


@pytest.mark.requirement(SECTION, "mail.code-requested: the code is in the mail, in the language of the person")
async def test_a_code_arrives(office: Office) -> None:
    await office.send(code(), mail_brand_name="Acme")
    (mail,) = office.server.received
    assert mail.message["Subject"] == "您的 Acme 登录验证码"
    assert "493817" in mail.part("plain")
    assert "493817" in mail.part("html")


@pytest.mark.requirement(SECTION, "mail.requested: without a mail service it succeeds, and its result says so")
async def test_without_a_service_nothing_is_sent() -> None:
    for event in (invitation(), code(), invitation("no address", ADA)):
        done = await run(handler_of(event), event, services=[build_mailer(Settings())])
        assert done.result == {"sent": False, "why": "no mail service is configured (STREAMS_MAIL_TYPE)"}
        assert done.published == ()


@pytest.mark.parametrize("tls", ["none", "starttls", "tls"])
async def test_the_session_may_be_secured_and_signed_in(office: Office, tls: str, tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    office.server.password = "s3cret"
    if tls != "none":
        office.server.certificates, office.server.tls_at_once = made, tls == "tls"
    user = {"mail_smtp_username": "streams", "mail_smtp_password": "s3cret"}
    await office.send(code(), mail_smtp_tls=tls, mail_smtp_ca_location=made.authority, **user)
    (mail,) = office.server.received
    assert mail.secured == (tls != "none")
    assert office.server.logins == ["streams"]


async def test_no_mail_goes_to_an_unknown_server(office: Office, tmp_path: Path) -> None:
    """Neither one with a foreign certificate, nor one that should offer STARTTLS and does not."""
    with pytest.raises(MailServiceError, match="STARTTLS"):
        await office.send(code(), mail_smtp_tls="starttls")
    office.server.certificates = make_certificates(tmp_path)
    with pytest.raises(Unavailable, match="does not answer"):
        await office.send(code(), mail_smtp_tls="starttls")
    assert office.server.received == []


REFUSED_FOR_GOOD: list[tuple[str, str, str]] = [
    ("to", "550 5.1.1 no such mailbox", "the mail server rejects the receiver: 550 5.1.1 no such mailbox"),
    ("content", "554 5.7.1 looks like spam", "the mail server rejects the content: 554 5.7.1 looks like spam"),
]
REFUSED_FOR_NOW: list[tuple[str, str, str]] = [
    ("to", "450 4.2.0 greylisted", "the mail server rejects the receiver for now: 450"),
    ("content", "452 4.3.1 the disk is full", "the mail server rejects the content for now: 452"),
    ("sender", "550 5.7.1 not your domain", "the mail server rejects the sender or the session: 550"),
    ("sender", "451 4.3.0 later", "the mail server rejects the sender or the session: 451"),
]
AWAY: list[tuple[str, Reply, str]] = [
    ("greeting", "421 4.3.2 restarting", "is not ready: 421"),
    ("greeting", "554 no service here", "is not ready: 554"),
    ("greeting", "SSH-2.0-OpenSSH_9.6", "is not ready"),
    ("greeting", "", "does not answer"),
    ("greeting", None, "does not answer"),
    ("to", "421 4.7.0 closing", "is not ready: 421"),
    ("sender", "\x00\x01\x02", "is not ready"),
    ("content", "", "does not answer"),
    ("content", None, "does not answer"),
]


def set_reply(server: MailServer, phase: str, reply: Reply) -> None:
    setattr(server, phase, (lambda _: reply) if phase == "to" else reply)


@pytest.mark.requirement(SECTION, "mail.requested: what the server refuses for good is a dead letter")
@pytest.mark.parametrize(("phase", "reply", "said"), REFUSED_FOR_GOOD)
async def test_a_final_refusal_is_not_retried(office: Office, phase: str, reply: str, said: str) -> None:
    set_reply(office.server, phase, reply)
    with pytest.raises(Permanent) as refused:
        await office.send(code())
    assert str(refused.value) == said


@pytest.mark.requirement(SECTION, "mail.requested: what the server refuses for now is retried with backoff")
@pytest.mark.parametrize(("phase", "reply", "said"), REFUSED_FOR_NOW)
async def test_a_refusal_for_now_is_retried(office: Office, phase: str, reply: str, said: str) -> None:
    set_reply(office.server, phase, reply)
    event = invitation()
    with pytest.raises(MailServiceError) as refused:
        await office.send(event)
    assert str(refused.value).startswith(said)
    assert isinstance(decide(send_mail, 1, refused.value, 0, 0.0), Again)
    office.server.to, office.server.sender, office.server.content = (lambda _: "250 ok"), "250 ok", "250 ok"
    await office.send(event)
    assert len(office.server.received) == 1


@pytest.mark.requirement(SECTION, "mail.requested: a mail server that is away, silent or garbled costs no attempt")
@pytest.mark.parametrize(("phase", "reply", "said"), AWAY)
async def test_a_server_that_is_away_is_unavailable(office: Office, phase: str, reply: Reply, said: str) -> None:
    set_reply(office.server, phase, reply)
    with pytest.raises(Unavailable) as away:
        await office.send(code(), mail_connect_timeout=0.5, mail_request_timeout=1)
    assert away.value.dependency == "mail"
    assert said in str(away.value)


async def test_a_closed_port_is_unavailable(office: Office) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await office.send(code(), mail_smtp_port=1)


async def test_a_wrong_password_waits_for_the_operator(office: Office) -> None:
    """It says nothing about the mail, so the mail is not a dead letter at once."""
    office.server.password = "s3cret"
    with pytest.raises(MailServiceError, match="rejects the user name or the password: 535"):
        await office.send(code(), mail_smtp_username="streams", mail_smtp_password="old-password")


async def test_an_address_outside_ascii_needs_a_server_for_it(office: Office) -> None:
    await office.send(code(to=["用户@example.org"]))
    assert office.server.received[0].receiver == "用户@example.org"
    office.server.extensions = ()
    with pytest.raises(Permanent, match="outside ASCII"):
        await office.send(code(to=["用户@example.org"]))


@pytest.mark.parametrize("to", ["ada@example.org\r\nBcc: x@y.z", "a@b.org, c@d.org", "ada"])
async def test_a_hostile_address_is_a_dead_letter(office: Office, to: str) -> None:
    with pytest.raises(Permanent) as refused:
        await office.send(invitation(to))
    assert str(refused.value) == "a receiver is not a mail address such as name@example.com"
    assert office.server.attempts == 0


@pytest.mark.requirement(SECTION, "mail.requested: each receiver has a delivery of its own")
async def test_several_receivers_get_a_mail_each(office: Office) -> None:
    """Nobody sees the others, and a retry for one of them does not send to the others again."""
    event = code(to=[ADA, CHARLES, ADA])
    done = await office.send(event)
    assert done.result == {"sent": False, "mails": 2}
    assert office.server.attempts == 0
    for published in done.published:
        assert published.expires_at == event.occurred_at + timedelta(minutes=5)
        assert isinstance(published.event, MailCodeRequested)
        assert published.event.occurred_at == event.occurred_at
        await office.send(published.event)
    assert [one.receiver for one in office.server.received] == [ADA, CHARLES]
    assert len({one.message["Message-ID"] for one in office.server.received}) == 2
    assert all(len(one.message.get_all("To", [])) == 1 for one in office.server.received)


async def test_a_mail_to_nobody_or_to_too_many_is_a_dead_letter(office: Office) -> None:
    with pytest.raises(Permanent, match="without a receiver"):
        await office.send(code(to=[]))
    with pytest.raises(Permanent, match="at most 1000"):
        await office.send(invitation(*(f"{number}@example.org" for number in range(MAX_RECEIVERS + 1))))


@pytest.mark.requirement(SECTION, "mail.code-requested: no attempt after the lifetime of the code")
async def test_a_code_that_has_ended_is_not_sent(office: Office) -> None:
    """The delivery is dead at once, with the reason `expired`."""
    requested = datetime.now(tz=UTC) - timedelta(seconds=299)
    await office.send(code(occurred_at=requested))
    with pytest.raises(ExpiredError, match="the code ended at") as ended:
        await office.send(code(occurred_at=requested), mail_code_lifetime=298)
    assert decide(send_code, 1, ended.value, 0, 0.0) == Dead(Reason.EXPIRED)
    assert office.server.attempts == 1


@pytest.mark.requirement(SECTION, "mail.requested: an invitation survives an outage of hours")
async def test_an_invitation_is_sent_after_a_day_and_not_after_its_end(office: Office) -> None:
    """Its own attempts last for hours, also if each of them counts."""
    waits = [send_mail.retry.delay(attempt) for attempt in range(1, send_mail.retry.attempts)]
    assert sum(filter(None, waits)) > 8 * 3600
    late = invitation().model_copy(update={"occurred_at": datetime.now(tz=UTC) - timedelta(hours=71)})
    await office.send(late)
    assert len(office.server.received) == 1
    with pytest.raises(ExpiredError, match="the invitation ended at"):
        await office.send(late, mail_invitation_lifetime="70h")


async def test_a_caller_writes_a_mail_of_its_own(office: Office) -> None:
    event = MailRequested(
        kind="inner",
        to=[ADA],
        subject="News\r\nBcc: x@y.z",
        body="<h1>Hello {{ name }}</h1>",
        substitutions={"name": "<Ada>"},
    )
    await office.send(event)
    (mail,) = office.server.received
    assert mail.message["Subject"] == "News Bcc: x@y.z"
    assert mail.message["Bcc"] is None
    assert mail.part("html").strip() == "<h1>Hello &lt;Ada&gt;</h1>"
    assert mail.part("plain").strip() == "Hello <Ada>"
    with pytest.raises(Permanent, match="needs a subject and a body"):
        await office.send(event.model_copy(update={"body": None}))
    with pytest.raises(Permanent, match="TemplateSyntaxError"):
        await office.send(event.model_copy(update={"body": "{% if %}"}))


@pytest.mark.parametrize("kind", ["invitation", "email-code-login"])
async def test_an_unknown_kind_is_a_dead_letter(office: Office, kind: str) -> None:
    """Also a kind of the other topic whose code is missing."""
    with pytest.raises(Permanent):
        await office.send(MailRequested(kind=kind, to=[ADA]))
    assert office.server.attempts == 0
