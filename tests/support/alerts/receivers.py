"""Receivers of alerts: a mail server and a webhook, with the settings of a worker that sends to both."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.support.fakes.json_api import JsonApi, json_api
from tests.support.fakes.mail_server import MailServer, mail_server


@contextmanager
def alert_receivers() -> Iterator[tuple[MailServer, JsonApi, Mapping[str, str]]]:
    """Start both. Yields them with the settings."""
    with mail_server() as (mails, port), json_api() as (webhook, url):
        yield (
            mails,
            webhook,
            {
                "STREAMS_MAIL_TYPE": "smtp",
                "STREAMS_MAIL_FROM": "Acme <no-reply@acme.example>",
                "STREAMS_MAIL_SMTP_PORT": str(port),
                "STREAMS_ALERT_EMAILS": "ops@acme.example",
                "STREAMS_ALERT_WEBHOOK_URL": url,
            },
        )
