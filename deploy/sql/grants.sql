-- The rights of senders and readers. Run it as `streams_worker` after each `streams db upgrade`.
grant usage on schema streams to streams_sender, streams_reader;
grant insert, select (id, created_at) on streams.outbox to streams_sender;
grant select on all tables in schema streams to streams_reader;
