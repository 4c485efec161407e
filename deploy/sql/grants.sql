-- The rights in the schema `streams`. Run it as `streams_owner` after each upgrade, or use `streams db upgrade --grant`.
grant usage on schema streams to streams_worker, streams_sender, streams_relay, streams_reader;

grant select on streams.installation to streams_worker;
grant select, update on streams.relay to streams_worker;
grant select, insert, delete on streams.answered_chunks, streams.pauses to streams_worker;
grant select, insert, update on
    streams.alerts, streams.executions, streams.plugin_check_runs, streams.plugin_checks, streams.schedules
    to streams_worker;
grant select, insert, update, delete on
    streams.alert_notices, streams.breakers, streams.dead_letters, streams.leases, streams.outbox,
    streams.partition_starts, streams.slots, streams.suspects
    to streams_worker;
grant select on streams.alembic_version to streams_worker;
-- Workers create and drop the ledger's days with the rights of the functions' owner.
grant execute on function streams.create_ledger_day(date) to streams_worker;
grant execute on function streams.drop_ledger_day(date) to streams_worker;

grant insert, select (id, created_at) on streams.outbox to streams_sender;

grant select, update, delete on streams.outbox to streams_relay;
grant select, update on streams.relay to streams_relay;
grant select on streams.alembic_version to streams_relay;

grant select on all tables in schema streams to streams_reader;
