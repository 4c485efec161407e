"""Mails by Resend and SendGrid, and what their answers mean."""

from collections.abc import Iterator

import pytest

from schemas import MailRequested
from streams.agents.workspace.mail import send_mail
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.errors import MailServiceError
from streams.dify.mail.mailer import build_mailer
from streams.settings import Settings
from streams.testing import Run, run
from tests.support.fakes.json_api import GARBAGE, NOTHING, JsonApi, Reply, json_api

SECTION = "The whole domain"
ACCEPTED = {"resend": Reply(200, b'{"id": "49a3999c"}'), "sendgrid": Reply(202, b"")}
SERVICES = sorted(ACCEPTED)
ADA = "ada.lovelace@example.org"


@pytest.fixture
def api() -> Iterator[tuple[JsonApi, str]]:
    with json_api() as opened:
        yield opened


def event() -> MailRequested:
    return MailRequested(kind="change-mail-completed", to=[ADA], language="en-US")


async def send(service: str, url: str, requested: MailRequested, **settings: object) -> Run:
    known = {
        "mail_type": service,
        "mail_from": "Acme <no-reply@acme.example>",
        f"mail_{service}_url": f"{url}/",
        f"mail_{service}_key": "key-of-the-service",
        **settings,
    }
    return await run(send_mail, requested, services=[build_mailer(Settings.model_validate(known))])


@pytest.mark.requirement(SECTION, "mail.requested: sent by Resend, once, although the request is repeated")
async def test_resend_gets_a_key_that_a_repeat_has_too(api: tuple[JsonApi, str]) -> None:
    server, url = api
    server.answer = lambda _asked, _before: ACCEPTED["resend"]
    requested = event()
    for _ in range(2):
        done = await send("resend", url, requested)
        assert done.result == {
            "sent": True,
            "by": "resend",
            "message_id": f"<{requested.event_id}.send-mail@acme.example>",
        }

    first, second = server.requests
    assert (first.method, first.path) == ("POST", "/emails")
    assert first.headers["authorization"] == "Bearer key-of-the-service"
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == f"send-mail/{requested.event_id}"
    assert first.body == second.body
    assert first.body["from"] == "Acme <no-reply@acme.example>"
    assert first.body["to"] == [ADA]
    assert first.body["subject"] == "The mail address of your Dify account has changed"
    assert str(first.body["html"]).startswith("<!doctype html>")
    assert "Use it the next time that you sign in." in str(first.body["text"])


@pytest.mark.requirement(SECTION, "mail.requested: sent by SendGrid")
async def test_sendgrid_gets_the_mail_and_follows_no_links(api: tuple[JsonApi, str]) -> None:
    server, url = api
    server.answer = lambda _asked, _before: ACCEPTED["sendgrid"]
    requested = event()
    await send("sendgrid", url, requested)

    (asked,) = server.requests
    assert (asked.method, asked.path) == ("POST", "/v3/mail/send")
    assert asked.headers["authorization"] == "Bearer key-of-the-service"
    assert asked.body["personalizations"] == [{"to": [{"email": ADA}]}]
    assert asked.body["from"] == {"email": "no-reply@acme.example", "name": "Acme"}
    assert asked.body["headers"] == {
        "Message-ID": f"<{requested.event_id}.send-mail@acme.example>",
        "Auto-Submitted": "auto-generated",
    }
    assert [one["type"] for one in asked.body["content"]] == ["text/plain", "text/html"]  # type: ignore[attr-defined]  # JSON
    assert asked.body["tracking_settings"] == {
        "click_tracking": {"enable": False, "enable_text": False},
        "open_tracking": {"enable": False},
    }


@pytest.mark.requirement(SECTION, "mail.requested: what an API refuses for good (4xx) is a dead letter")
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refused_request_is_a_dead_letter(api: tuple[JsonApi, str], service: str, status: int) -> None:
    server, url = api
    server.answer = lambda _asked, _before: Reply(status, b'{"message": "the domain does not exist"}')
    with pytest.raises(Permanent, match=rf"rejects the mail: {status} .*the domain does not exist"):
        await send(service, url, event())


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("status", [401, 403, 409])
async def test_a_rejected_key_waits_for_the_operator(api: tuple[JsonApi, str], service: str, status: int) -> None:
    """It says nothing about the mail: the attempt is repeated, and the mail is not lost at once."""
    server, url = api
    server.answer = lambda _asked, _before: Reply(status, b'{"message": "restricted key"}')
    with pytest.raises(MailServiceError, match="restricted key"):
        await send(service, url, event())


@pytest.mark.requirement(SECTION, "mail.requested: an API that answers 429 is asked again when it says")
@pytest.mark.parametrize("service", SERVICES)
async def test_too_many_requests_are_repeated_later(api: tuple[JsonApi, str], service: str) -> None:
    server, url = api
    server.answer = lambda _asked, before: Reply(429, b"{}", {"Retry-After": "77"}) if not before else ACCEPTED[service]
    requested = event()
    with pytest.raises(Retry) as asked:
        await send(service, url, requested)
    assert asked.value.after == 77.0
    await send(service, url, requested)
    assert len(server.requests) == 2


AWAY = {
    "500": Reply(500, b"an error"),
    "503": Reply(503, b""),
    "408": Reply(408, b""),
    "garbage": GARBAGE,
    "nothing": NOTHING,
    "another page": Reply(200, b"<html>Sign in to this network</html>"),
    "a redirect": Reply(302, b"", {"Location": "http://127.0.0.1:1/"}),
}


@pytest.mark.requirement(SECTION, "mail.requested: an API that answers 5xx, garbage or nothing costs no attempt")
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("reply", AWAY)
async def test_an_api_that_is_away_is_unavailable(api: tuple[JsonApi, str], service: str, reply: str) -> None:
    """A page that some proxy answers is no confirmation, either."""
    server, url = api
    server.answer = lambda _asked, _before: AWAY[reply]
    with pytest.raises(Unavailable) as away:
        await send(service, url, event(), mail_request_timeout=0.5 if reply == "nothing" else 20)
    assert away.value.dependency == "mail"


async def test_a_closed_port_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="Resend does not answer: ConnectError"):
        await send("resend", "http://127.0.0.1:1", event())
