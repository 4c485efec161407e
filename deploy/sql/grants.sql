-- The rights of senders, relays and readers. Run it as `streams_worker` after each `streams db upgrade`.
grant usage on schema streams to streams_sender, streams_relay, streams_reader;
grant insert, select (id, created_at) on streams.outbox to streams_sender;
grant select, update, delete on streams.outbox to streams_relay;
grant select, update on streams.relay to streams_relay;
grant select on streams.alembic_version to streams_relay;
grant select on all tables in schema streams to streams_reader;
