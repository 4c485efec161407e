"""Sends notices to the webhook of the settings, at least once: a request whose confirmation is lost is repeated."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.database.monitoring_tables import alert_notices
from streams.dify.errors import BusyError, UnavailableError
from streams.dify.http import Service, Timeouts, send
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.settings import Settings

log = get_logger(__name__)
NAME = "the webhook of alerts"
AT_ONCE = 20
"""Notices that one check sends at most."""
SEND_SECONDS = 10.0
"""After this time, a check begins no further request."""
_REQUEST_SECONDS = 10.0
"""The longest time of one request: the rows of the notices are locked meanwhile."""


class WebhookAwayError(UnavailableError):
    """The webhook does not answer, or answers with a server error."""

    service = "alert-webhook"


class WebhookRejectsError(Exception):
    """The webhook does not accept a notice: its status is not 2xx."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where alerts are posted."""

    url: SecretStr
    timeouts: Timeouts

    async def post(self, body: Mapping[str, object]) -> None:
        """Post one notice. Raises BusyError, WebhookAwayError or WebhookRejectsError."""
        service = Service(NAME, {}, self.timeouts)
        answer = await send(service, "POST", self.url.get_secret_value(), away=WebhookAwayError, json=body)
        if not answer.is_success:
            told = f"{NAME} answers {answer.status}"
            raise WebhookRejectsError(told)


def build_webhook(settings: Settings) -> Webhook | None:
    """Create the webhook of the settings; None: STREAMS_ALERT_WEBHOOK_URL is not set."""
    if settings.alert_webhook_url is None:
        return None
    seconds = min(_REQUEST_SECONDS, settings.service_request_timeout)
    return Webhook(settings.alert_webhook_url, Timeouts(settings.service_connect_timeout, seconds))


async def write_notices(session: AsyncSession, bodies: Sequence[Mapping[str, object]]) -> None:
    """Write notices in the transaction that changes the alerts. They stay until the webhook has confirmed them."""
    if bodies:
        await session.execute(insert(alert_notices), [{"body": dict(body)} for body in bodies])


async def send_notices(session: AsyncSession, webhook: Webhook) -> tuple[int, bool]:
    """Send the oldest notices, and delete those that the webhook confirms.

    A notice that another check is sending is left to it. A failure ends the sending and is not an error of the check:
    mails must not wait for the webhook, and the notice stays for the next check.

    Args:
        session: The check's transaction, which locks the notices.
        webhook: Where they go.

    Returns:
        The number of sent notices, and whether one could not be sent.
    """
    columns = alert_notices.c
    query = select(columns.id, columns.body).order_by(columns.id).limit(AT_ONCE).with_for_update(skip_locked=True)
    end, sent = time.monotonic() + SEND_SECONDS, list[int]()
    has_failed = False
    for row in (await session.execute(query)).all():
        if time.monotonic() >= end:
            break
        try:
            await webhook.post(row.body)
        except (BusyError, WebhookAwayError, WebhookRejectsError) as error:
            log.warning("an alert could not be sent to the webhook; it is sent again later", error=message(error))
            has_failed = True
            break
        sent.append(row.id)
    if sent:
        await session.execute(delete(alert_notices).where(columns.id.in_(sent)))
    return len(sent), has_failed
