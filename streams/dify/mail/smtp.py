"""Sends mails by SMTP. Each phase of a session has its own meaning of a refusal."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPConnectResponseError,
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
)
from pydantic import SecretStr

from streams.dify.errors import MailAwayError, MailServiceError, RefusedError
from streams.dify.mail.addresses import Sender
from streams.dify.mail.message import Mail, internet_message, one_line
from streams.observability.logs import get_logger

log = get_logger(__name__)
_SHOWN = 200
"""Characters of a reply in an error."""
_QUIT_SECONDS = 1.0
"""How long the reply to QUIT may take. The mail is accepted by then."""
_CLOSING = 421
"""The server closes the connection, whatever the command was."""
_REFUSED_FOR_NOW, _REFUSED = range(400, 500), range(500, 600)


@dataclass(frozen=True, slots=True)
class SmtpService:
    """An SMTP server. A connection is opened for each mail."""

    host: str
    port: int
    sender: Sender
    tls: Literal["none", "starttls", "tls"]
    """starttls: a server that does not offer it gets no mail."""
    tls_context: ssl.SSLContext | None
    username: str | None
    password: SecretStr | None
    connect_timeout: float
    request_timeout: float
    """Seconds for one mail, the connection included."""

    name = "smtp"

    async def send(self, mail: Mail) -> None:
        """Send a mail; see `MailService`. If the reply to the content is lost, the outcome is unknown."""
        async with self._session() as client:
            await self._talk(client, mail)

    async def check(self) -> None:
        """Open a session, log in and close it. Raises what `send` raises for the server and the settings."""
        async with self._session() as client:
            await self._open(client)
            await _quit(client)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[SMTP]:
        """Yield a client that is not connected. Map its errors to those of a mail service, and close it."""
        client = SMTP(
            hostname=self.host,
            port=self.port,
            username=self.username,
            password=self.password.get_secret_value() if self.password is not None else None,
            timeout=self.connect_timeout,
            use_tls=self.tls == "tls",
            start_tls=self.tls == "starttls",
            tls_context=self.tls_context,
        )
        try:
            async with asyncio.timeout(self.request_timeout):
                yield client
        except SMTPResponseException as error:
            raise self._meaning_of_reply(error) from error
        except (OSError, TimeoutError) as error:
            log.warning("the mail server does not answer", host=self.host, port=self.port, error=_line(str(error)))
            message = f"the mail server does not answer: {type(error).__name__}"
            raise MailAwayError(message) from error
        except (SMTPException, ValueError) as error:
            message = f"the mail server does not support what the settings ask for: {_line(str(error))}"
            raise MailServiceError(message) from error
        finally:
            client.close()

    async def _open(self, client: SMTP) -> None:
        await client.connect()
        client.timeout = self.request_timeout
        if client.is_ehlo_or_helo_needed:
            await client.ehlo()

    async def _talk(self, client: SMTP, mail: Mail) -> None:
        await self._open(client)
        in_ascii = mail.to.isascii()
        if not in_ascii and not client.supports_extension("smtputf8"):
            message = "the mail server cannot send to addresses outside ASCII"
            raise RefusedError(message)
        encoding = "ascii" if in_ascii else "utf-8"
        await client.mail(self.sender.address, options=[] if in_ascii else ["SMTPUTF8"], encoding=encoding)
        await client.rcpt(mail.to, encoding=encoding)
        await client.data(internet_message(mail, self.sender))
        await _quit(client)

    def _meaning_of_reply(self, error: SMTPResponseException) -> Exception:
        """Return what a reply says. 5xx for the receiver or the content is final, and says nothing about other mails.

        A rejected sender or password is a matter of the settings, which an operator corrects.
        """
        reply = f"{error.code} {_line(error.message)}"
        is_refusal = error.code in _REFUSED or error.code in _REFUSED_FOR_NOW
        if not is_refusal or error.code == _CLOSING or isinstance(error, SMTPConnectResponseError):
            log.warning("the mail server is not ready", host=self.host, port=self.port, reply=reply)
            return MailAwayError(f"the mail server is not ready: {reply}")
        if isinstance(error, SMTPAuthenticationError):
            return MailServiceError(f"the mail server rejects the user name or the password: {reply}")
        if isinstance(error, SMTPRecipientRefused | SMTPDataError):
            what = "the receiver" if isinstance(error, SMTPRecipientRefused) else "the content"
            if error.code in _REFUSED:
                return RefusedError(f"the mail server rejects {what}: {reply}")
            return MailServiceError(f"the mail server rejects {what} for now: {reply}")
        return MailServiceError(f"the mail server rejects the sender or the session: {reply}")


async def _quit(client: SMTP) -> None:
    with suppress(SMTPException, OSError, TimeoutError):
        await client.quit(timeout=_QUIT_SECONDS)


def _line(reply: str) -> str:
    return one_line(reply.encode(errors="replace").decode(), _SHOWN)
