"""Writes the default schedules when a worker starts. What an operator has changed or removed stays as it is."""

import json
from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncEngine

from streams.observability.logs import get_logger
from streams.schedules.schedule import Schedule
from streams.schedules.statements import REGISTER

log = get_logger(__name__)


async def register_schedules(engine: AsyncEngine, schedules: Iterable[Schedule]) -> None:
    """Write the schedules of the code. Workers may do it at the same time."""
    async with engine.begin() as connection:
        for schedule in sorted(schedules, key=lambda one: one.name):  # in one order, so that no two workers deadlock
            if (await connection.execute(REGISTER, schedule_columns(schedule))).first() is not None:
                log.info("schedule registered", schedule=schedule.name, enabled=schedule.enabled)


def schedule_columns(schedule: Schedule) -> dict[str, object]:
    """Return the columns of a schedule's row."""
    return {
        "name": schedule.name,
        "topic": schedule.topic,
        "args": json.dumps(schedule.args),
        "cron": schedule.cron,
        "every": schedule.every,
        "timezone": schedule.timezone,
        "overlap": schedule.overlap,
        "catch_up": schedule.catch_up,
        "jitter": schedule.jitter,
        "enabled": schedule.enabled,
    }
