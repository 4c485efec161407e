"""The tables of the PostgreSQL schema `streams`, as SQLAlchemy Core. `streams/database/migrations` creates them.

The platform's own tables are in `streams.dify.models`. These migrations never change them.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from streams.database import monitoring_tables  # its tables belong to the same metadata
from streams.database.schema import SCHEMA, metadata

__all__ = ["SCHEMA", "metadata", "monitoring_tables"]
"""The names of other modules that are also imported from here."""
TENANT_INDEXED = 64
"""How many characters of a tenant's id the ledger's index has. An event may have an id of any length."""

executions = Table(
    "executions",
    metadata,
    Column("day", Date, primary_key=True, comment="UTC day of the event id's time; partition key"),
    Column("event_id", Uuid, primary_key=True),
    Column("handler", Text, primary_key=True),
    Column("task_id", Uuid, nullable=False),
    Column("topic", Text, nullable=False, comment="where the event came from, not the retry tier"),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("tenant_id", Text),
    Column("pool", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),
    Column("args", JSONB(none_as_null=True)),
    Column("status", Text, nullable=False),
    Column("seq", Integer, nullable=False, server_default=text("0"), comment="the fence: number of hand-overs"),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="runs, deferrals not counted"),
    Column("replays", Integer, nullable=False, server_default=text("0")),
    Column("lost_leases", Integer, nullable=False, server_default=text("0")),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("started_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Column("due_at", DateTime(timezone=True), comment="when a retry is due"),
    Column("error", Text),
    Column("reason", Text, comment="why it died"),
    Column("result", JSONB(none_as_null=True)),
    Column("worker", Text),
    Column("history", JSONB, nullable=False, server_default=text("'[]'"), comment="one object an attempt"),
    Column("resource", Text, comment="what a long delivery holds"),
    Column("lease_token", Uuid),
    Column("lease_until", DateTime(timezone=True)),
    Column("record_value", LargeBinary, comment="a long delivery's record: its offset is acknowledged at the claim"),
    Column("record_headers", JSONB(none_as_null=True)),
    Column("warnings", JSONB(none_as_null=True), comment="what the handler warns of: texts"),
    Column("trace_id", Uuid, comment="the trace of the event, from its traceparent"),
    CheckConstraint("status in ('started', 'retry', 'success', 'failure')", name="executions_status"),
    Index("executions_created", "created_at"),
    Index("executions_topic", "topic", "created_at"),
    Index("executions_tenant", text(f"left(tenant_id, {TENANT_INDEXED})"), "created_at"),
    Index("executions_unfinished", "status", "created_at", postgresql_where=text("status <> 'success'")),
    Index("executions_lease", "lease_until", postgresql_where=text("status = 'started'")),
    postgresql_partition_by="RANGE (day)",
)

leases = Table(
    "leases",
    metadata,
    Column("resource", Text, primary_key=True),
    Column("token", Uuid, nullable=False),
    Column("until", DateTime(timezone=True), nullable=False, comment="judged by the database's clock"),
    Column("event_id", Uuid, nullable=False),
    Column("handler", Text, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("tenant_id", Text),
    Column("topic", Text, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", JSONB, nullable=False, server_default=text("'[]'"), comment="[[name, base64], …]"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("due_at", DateTime(timezone=True), comment="not before; null: at once"),
    Column("failed_at", DateTime(timezone=True), comment="Kafka refused it: set aside"),
    Column("error", Text),
    Index("outbox_ready", "id", postgresql_where=text("failed_at is null and due_at is null")),
    Index("outbox_due", "due_at", postgresql_where=text("failed_at is null and due_at is not null")),
    Index("outbox_scheduled", "event_id", postgresql_where=text("due_at is not null")),
    Index("outbox_set_aside", "failed_at", postgresql_where=text("failed_at is not null")),
)

relay = Table(
    "relay",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False, comment="whoever locks this one row relays"),
    Column(
        "in_flight",
        ARRAY(BigInteger),
        nullable=False,
        server_default=text("'{}'"),
        comment="ids of outbox rows that were sent and not answered when the lock was released",
    ),
)

answered_chunks = Table(
    "answered_chunks",
    metadata,
    Column("document_id", Uuid(as_uuid=False), primary_key=True),
    Column("key", Text, primary_key=True, comment="hash of model, language and chunk"),
    Column("dataset_id", Uuid(as_uuid=False), nullable=False),
    Column("pairs", JSONB, nullable=False, comment="[[question, answer], …]"),
    Index("answered_chunks_dataset", "dataset_id"),
)

installation = Table(
    "installation",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column(
        "installed_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("clock_timestamp()"),
        comment="when the platform's work moves here",
    ),
)

partition_starts = Table(
    "partition_starts",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("starts", Integer, nullable=False, comment="assignments at this offset without a clean end between"),
    Column("worker", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
)

suspects = Table(
    "suspects",
    metadata,
    Column("group_id", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("handler", Text, primary_key=True),
    Column("runs", Integer, nullable=False, comment="runs alone that have begun; the row goes when one ends"),
    Column("worker", Text, nullable=False),
    Column("begun_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
)

pauses = Table(
    "pauses",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("since", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("paused_by", Text, comment="account@host: command (role of the database)"),
    CheckConstraint("kind in ('topic', 'handler')", name="pauses_kind"),
)

breakers = Table(
    "breakers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("dependency", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("failures", Integer, nullable=False, comment="consecutive ones"),
    Column("retry_at", DateTime(timezone=True)),
    Column("error", Text),
    Column(
        "seen_at",
        DateTime(timezone=True),
        nullable=False,
        server_default=text("clock_timestamp()"),
        comment="when the worker last told; one that is gone tells no more",
    ),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Text, primary_key=True, comment="<dlq topic>:<partition>:<offset>"),
    Column("dlq_topic", Text, nullable=False),
    Column("dlq_partition", Integer, nullable=False),
    Column("dlq_offset", BigInteger, nullable=False),
    Column("topic", Text, nullable=False, comment="the origin's, as partition and offset"),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("event_id", Uuid, comment="null where the record could not be read"),
    Column("handler", Text, comment="null where the record could not be read"),
    Column("tenant_id", Text),
    Column("reason", Text, nullable=False),
    Column("error_type", Text, nullable=False),
    Column("error_message", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_failed_at", DateTime(timezone=True), nullable=False),
    Column("died_at", DateTime(timezone=True), nullable=False),
    Column("replayed_at", DateTime(timezone=True)),
    Column("replayed_by", Text, comment="account@host: command (role of the database)"),
    Index("dead_letters_event", "event_id", "handler"),
    Index("dead_letters_topic", "dlq_topic", "died_at"),
    Index(
        "dead_letters_waiting",
        text("left(coalesce(handler, ''), 200)"),
        text("left(error_type, 200)"),
        "died_at",
        postgresql_where=text("replayed_at is null"),
    ),
    Index("dead_letters_waiting_topic", "dlq_topic", "died_at", postgresql_where=text("replayed_at is null")),
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("topic", Text, nullable=False, comment="of the event, without the prefix"),
    Column("args", JSONB, nullable=False, server_default=text("'{}'"), comment="fields of the event"),
    Column("cron", Text, comment="five fields; null: an interval"),
    Column("every", Double, comment="seconds; null: a cron line"),
    Column("timezone", Text, nullable=False, server_default=text("'UTC'")),
    Column("overlap", Text, nullable=False, server_default=text("'skip'")),
    Column("catch_up", Double, nullable=False, comment="seconds that a slot may be late and still runs"),
    Column("jitter", Double, nullable=False, server_default=text("0"), comment="most seconds that a run is put off"),
    Column("enabled", Boolean, nullable=False, comment="its setting"),
    Column("origin", Text, nullable=False, comment="code: a worker's start may change the row"),
    Column("paused_at", DateTime(timezone=True), comment="null: not paused"),
    Column("changed_by", Text, comment="account@host: command (role of the database)"),
    Column("removed_at", DateTime(timezone=True), comment="a default that an operator removed stays removed"),
    Column("next_slot", DateTime(timezone=True), comment="null: not computed yet"),
    Column("error", Text, comment="why the row is not understood; it is tried again every minute"),
    CheckConstraint("overlap in ('skip', 'queue', 'allow')", name="schedules_overlap"),
    CheckConstraint("origin in ('code', 'operator')", name="schedules_origin"),
    CheckConstraint("(cron is null) <> (every is null)", name="schedules_cron_or_every"),
    Index("schedules_next", "next_slot"),
)

slots = Table(
    "slots",
    metadata,
    Column("schedule", Text, primary_key=True),
    Column("slot", DateTime(timezone=True), primary_key=True, comment="the instant at which it is due"),
    Column("kind", Text, nullable=False, comment="timer, trigger or backfill"),
    Column("status", Text, nullable=False),
    Column("event_id", Uuid, comment="the last event of the run; null: it waits for the run before it, or never ran"),
    Column("topic", Text, comment="of that event, with the prefix"),
    Column("claimed_by", Text),
    Column("claimed_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("started_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Column("detail", Text, comment="why it was skipped, missed or failed"),
    CheckConstraint("kind in ('timer', 'trigger', 'backfill')", name="slots_kind"),
    CheckConstraint(
        "status in ('pending', 'started', 'retry', 'success', 'failure', 'missed', 'skipped')", name="slots_status"
    ),
    Index("slots_open", "schedule", "slot", postgresql_where=text("status in ('pending', 'started', 'retry')")),
    Index("slots_event", "event_id", postgresql_where=text("event_id is not null")),
    Index("slots_claimed", "claimed_at"),
)
