"""Writes the notices about changed alerts: one mail for a check, and one JSON object for each alert."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from uuid import UUID, uuid5

from schemas import MailRequested
from streams.operations.alerts.alert import Change

MAIL_KIND = "inner"


def mail_about(changes: Sequence[Change], application: str, receivers: Sequence[str]) -> MailRequested:
    """Return the mail about the changes of one check.

    Args:
        changes: At least one.
        application: The name of the deployment.
        receivers: Mail addresses.
    """
    raised = sum(change.state == "raised" for change in changes)
    if len(changes) == 1:
        subject = f"[{application}] {changes[0].state}: {changes[0].name}"
    else:
        subject = f"[{application}] {raised} alerts raised, {len(changes) - raised} recovered"
    lines = "".join(f"<p>{_literal(change.line)}</p>" for change in changes)
    return MailRequested(kind=MAIL_KIND, to=list(receivers), subject=subject, body=lines)


def _literal(line: str) -> str:
    """Return text as HTML in which a template engine finds nothing: an error's message may have double braces."""
    return escape(line).replace("{", "&#123;")


def webhook_body(change: Change, application: str, check: UUID) -> dict[str, str | None]:
    """Return what the webhook gets about one alert.

    id: identifies the notice; a repeated request has the same. application: the name of the deployment. name: kind and
    subject; it identifies the alert. kind: see `Kind`. state: raised or recovered. detail: one line. raised_at,
    recovered_at: times in UTC (ISO 8601); recovered_at is null while the alert lasts.

    Args:
        change: The change.
        application: The name of the deployment.
        check: The id of the check's event. An attempt that is repeated writes the same notice.
    """
    return {
        "id": str(uuid5(check, f"{change.state} {change.name}")),
        "application": application,
        "name": change.name,
        "kind": change.kind,
        "state": change.state,
        "detail": change.detail,
        "raised_at": _utc(change.raised_at),
        "recovered_at": None if change.recovered_at is None else _utc(change.recovered_at),
    }


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()
