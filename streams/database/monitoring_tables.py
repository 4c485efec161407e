"""The tables of daily checks and alerts, as SQLAlchemy Core. Their metadata is that of `streams.database.tables`."""

from sqlalchemy import BigInteger, Column, Date, DateTime, Identity, Index, SmallInteger, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from streams.database.schema import metadata

plugin_checks = Table(
    "plugin_checks",
    metadata,
    Column("tenant_id", Uuid(as_uuid=False), primary_key=True),
    Column("day", Date, nullable=False, comment="UTC day of the last time of the day that was checked"),
    Column("checked_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
)

plugin_check_runs = Table(
    "plugin_check_runs",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column(
        "checked_until",
        DateTime(timezone=True),
        nullable=False,
        comment="tenants whose time came until then were checked",
    ),
)

alerts = Table(
    "alerts",
    metadata,
    Column("name", Text, primary_key=True, comment="kind and subject, such as lag:<group>:<topic>"),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("raised_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column(
        "notified_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("clock_timestamp()"),
        comment="when its last notice was written",
    ),
    Column("recovered_at", DateTime(timezone=True), comment="null: it lasts"),
    Index("alerts_lasting", "kind", postgresql_where=text("recovered_at is null")),
)

alert_notices = Table(
    "alert_notices",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("body", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    comment="notices that the webhook has not confirmed yet",
)
