"""The types of the platform's columns: UUIDs as text, times in UTC without a time zone."""

from datetime import UTC, datetime
from typing import Annotated

from sqlalchemy import DateTime, String, Text, Uuid, text
from sqlalchemy.orm import DeclarativeBase, mapped_column

NOW = text("CURRENT_TIMESTAMP(0)")
NOW_EXACT = text("CURRENT_TIMESTAMP")
NEW_UUID = text("uuid_generate_v4()")
"""A function of the uuid-ossp extension, or a replacement (see `create_platform_tables`)."""
NEW_ORDERED_UUID = text("uuidv7()")
"""PostgreSQL has this function from 18 on. On older servers the platform's migrations create it."""
EMPTY = text("''::character varying")
FALSE = text("false")
TRUE = text("true")
ZERO = text("0")

UuidText = Annotated[str, mapped_column(Uuid(as_uuid=False))]
"""A UUID column, read and written as text, as in events."""
UuidKey = Annotated[str, mapped_column(Uuid(as_uuid=False), primary_key=True, server_default=NEW_UUID)]
OrderedUuidKey = Annotated[str, mapped_column(Uuid(as_uuid=False), primary_key=True, server_default=NEW_ORDERED_UUID)]
"""A key in the order of creation, as the platform's newer tables have it."""
String255 = Annotated[str, mapped_column(String(255))]
LongText = Annotated[str, mapped_column(Text)]
UtcTime = Annotated[datetime, mapped_column(DateTime)]
"""UTC, without a time zone."""
CreatedAt = Annotated[datetime, mapped_column(DateTime, server_default=NOW)]
"""Whole seconds."""
CreatedExactlyAt = Annotated[datetime, mapped_column(DateTime, server_default=NOW_EXACT)]
"""With microseconds, as the platform has it in a few tables."""


class Model(DeclarativeBase):
    """The base class of all platform tables. Its metadata contains exactly these tables."""


def utc_now() -> datetime:
    """Return the current time in the platform's form: UTC without a time zone."""
    return datetime.now(tz=UTC).replace(tzinfo=None)
