-- The roles of a deployment. Run it in the platform's database as its owner or a superuser, before `streams db upgrade`.

-- Migrates and runs the pipeline. It owns the schema `streams`, since workers create and drop its day partitions.
create role streams_worker login;
create schema streams authorization streams_worker;
grant usage, create on schema public to streams_worker;
grant select, insert, update, delete on all tables in schema public to streams_worker;
grant usage on all sequences in schema public to streams_worker;

-- A service that publishes with the outbox, in its own transactions: give its role this one, too.
create role streams_sender;

-- `streams relay` in a process of its own: it sends the outbox and sees nothing else. A worker's relay has its worker's.
create role streams_relay login;

-- `streams exporter`, and an operator who looks and changes nothing: `streams executions list`, `streams dlq list`,
-- `streams outbox list`, `streams top`.
create role streams_reader login;
