"""Sends mails by the HTTP interfaces of Resend and SendGrid."""

from dataclasses import dataclass
from http import HTTPStatus
from json import loads

from pydantic import SecretStr

from streams.dify.errors import MailAwayError, MailServiceError, RefusedError
from streams.dify.http import Answer, JSONObject, Service, Timeouts, send
from streams.dify.mail.addresses import Sender
from streams.dify.mail.message import AUTOMATIC, Mail

_OF_THE_SETTINGS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})
"""The key or the sender is rejected, or an equal request is still in progress. A later attempt may succeed."""


@dataclass(frozen=True, slots=True)
class ResendService:
    """Resend. It sends a mail once, although the request is repeated: the key is known there for a day."""

    url: str
    key: SecretStr
    sender: Sender
    timeouts: Timeouts

    name = "resend"

    async def send(self, mail: Mail) -> None:
        """Send a mail; see `MailService`."""
        request = {
            "from": str(self.sender),
            "to": [mail.to],
            "subject": mail.content.subject,
            "text": mail.content.text,
            "html": mail.content.html,
            "headers": {"Message-ID": mail.message_id, "Auto-Submitted": AUTOMATIC},
        }
        headers = {**_authorization(self.key), "Idempotency-Key": mail.key}
        answer = await _post(Service("Resend", headers, self.timeouts), f"{self.url}/emails", request)
        if not answer.is_success or not _has_id(answer.body):
            message = f"Resend does not confirm the mail: it answers {answer.status}"
            raise MailAwayError(message)


@dataclass(frozen=True, slots=True)
class SendGridService:
    """SendGrid. It does not recognise repeated requests."""

    url: str
    key: SecretStr
    sender: Sender
    timeouts: Timeouts

    name = "sendgrid"

    async def send(self, mail: Mail) -> None:
        """Send a mail; see `MailService`."""
        sender = {"email": self.sender.address, **({"name": self.sender.name} if self.sender.name else {})}
        request: JSONObject = {
            "personalizations": [{"to": [{"email": mail.to}]}],
            "from": sender,
            "subject": mail.content.subject,
            "content": [
                {"type": "text/plain", "value": mail.content.text},
                {"type": "text/html", "value": mail.content.html},
            ],
            "headers": {"Message-ID": mail.message_id, "Auto-Submitted": AUTOMATIC},
            # Its own links instead of ours would carry the token of an invitation through another server.
            "tracking_settings": {
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": False},
            },
        }
        service = Service("SendGrid", _authorization(self.key), self.timeouts)
        answer = await _post(service, f"{self.url}/v3/mail/send", request)
        # 200 is the answer of its sandbox mode: the mail is valid and is not sent.
        if answer.status != HTTPStatus.ACCEPTED:
            message = f"SendGrid does not confirm the mail: it answers {answer.status}"
            raise MailAwayError(message)


def _authorization(key: SecretStr) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.get_secret_value()}"}


async def _post(service: Service, url: str, request: object) -> Answer:
    """Return the answer to a mail. Raises what `MailService.send` does."""
    answer = await send(service, "POST", url, away=MailAwayError, json=request)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        if answer.status in _OF_THE_SETTINGS:
            message = f"{service.name} rejects the key or the sender: {answer.status} {answer.shown}"
            raise MailServiceError(message)
        message = f"{service.name} rejects the mail: {answer.status} {answer.shown}"
        raise RefusedError(message)
    return answer


def _has_id(body: bytes) -> bool:
    try:
        answer: object = loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and isinstance(answer.get("id"), str)
