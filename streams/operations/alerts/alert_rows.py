"""The alerts that last, as rows: what is new gets one notice, and what is over gets one."""

from sqlalchemy import RowMapping, func, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.database.monitoring_tables import alerts
from streams.operations.alerts.alert import Change, Checked, State

NOW = text("clock_timestamp()")


async def update_alerts(session: AsyncSession, checked: Checked) -> list[Change]:
    """Write the alerts of a check, and return those that were raised or have recovered.

    An alert that lasts already gets its new detail and is not returned. Two checks at the same time return a change
    once.

    Args:
        session: A transaction. The notices are written in it too.
        checked: The result of the check.
    """
    changes = []
    rows = alerts.c
    for alert in sorted(checked.alerts, key=lambda one: one.name):
        values = {"name": alert.name, "kind": alert.kind, "detail": alert.detail}
        again = {"detail": alert.detail, "raised_at": NOW, "notified_at": NOW, "recovered_at": None}
        raised = (
            insert(alerts)
            .values(values)
            .on_conflict_do_update(index_elements=[rows.name], set_=again, where=rows.recovered_at.is_not(None))
            .returning(*rows)
        )
        row = (await session.execute(raised)).mappings().first()
        if row is not None:
            changes.append(_change("raised", row))
            continue
        lasting = update(alerts).where(rows.name == alert.name, rows.detail != alert.detail)
        await session.execute(lasting.values(detail=alert.detail))
    over = (
        update(alerts)
        .where(
            rows.kind.in_(list(checked.kinds)),
            rows.recovered_at.is_(None),
            rows.name.not_in([*(alert.name for alert in checked.alerts), *checked.unknown]),
        )
        .values(recovered_at=func.clock_timestamp(), notified_at=func.clock_timestamp())
        .returning(*rows)
    )
    recovered = (await session.execute(over)).mappings().all()
    return [*changes, *(_change("recovered", row) for row in sorted(recovered, key=lambda row: str(row["name"])))]


def _change(state: State, row: RowMapping) -> Change:
    return Change(state, row["name"], row["kind"], row["detail"], row["raised_at"], row["recovered_at"])
