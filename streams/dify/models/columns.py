"""How the platform's columns are typed: uuids as text, times without zone in UTC."""

from datetime import UTC, datetime
from typing import Annotated

from sqlalchemy import DateTime, Text, Uuid, text
from sqlalchemy.orm import DeclarativeBase, mapped_column

NOW = text("CURRENT_TIMESTAMP(0)")
NEW_UUID = text("uuid_generate_v4()")
"""Of the uuid-ossp extension, or of a function of that name (see `create_platform_tables`)."""
FALSE = text("false")
TRUE = text("true")
ZERO = text("0")

UuidText = Annotated[str, mapped_column(Uuid(as_uuid=False))]
"""A uuid column, read and written as text, as events carry it."""
UuidKey = Annotated[str, mapped_column(Uuid(as_uuid=False), primary_key=True, server_default=NEW_UUID)]
LongText = Annotated[str, mapped_column(Text)]
UtcTime = Annotated[datetime, mapped_column(DateTime)]
"""Without zone; always UTC."""
CreatedAt = Annotated[datetime, mapped_column(DateTime, server_default=NOW)]


class Model(DeclarativeBase):
    """What all of the platform's tables extend; its metadata holds exactly these tables."""


def utc_now() -> datetime:
    """The time of this process as the platform stores it: UTC without zone."""
    return datetime.now(tz=UTC).replace(tzinfo=None)
