"""Celery as the platform uses it: one task per message, each with the platform's update in its own transaction."""

import os
from functools import lru_cache

from celery import Celery
from sqlalchemy import Engine, create_engine, text

from streams.database.engines import DIALECT

app = Celery("peer")
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
CHARGE = text(
    """
    update providers set quota_used = quota_used + :used
    where tenant_id = :tenant and provider_name = 'openai' and provider_type = 'system' and quota_type = 'trial'
        and quota_limit > quota_used
    """
)


@lru_cache(maxsize=1)
def engine() -> Engine:
    """Return the engine, with one connection per process."""
    return create_engine(os.environ["STREAMS_DATABASE_URL"].replace("postgresql", DIALECT, 1), pool_size=1)


@app.task(name="charge")  # type: ignore[untyped-decorator]  # Celery has no types for it
def charge(tenant: str, used: int) -> None:
    """Execute the platform's update B. Its update A runs once in 300 s and costs nothing here."""
    with engine().begin() as connection:
        connection.execute(CHARGE, {"tenant": tenant, "used": used})
