"""Functions that create and drop the ledger's days, so that a worker need not own the ledger."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# They run with the owner's rights, so nobody but the roles of `grants.sql` may call them, and names are never looked up
# in a schema that the caller has chosen.
STATEMENTS = (
    """
    create function streams.create_ledger_day(day date) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
    declare
        name text := 'executions_' || to_char(day, 'YYYYMMDD');
    begin
        execute format('create table streams.%I (like streams.executions including all)', name);
        execute format('alter table streams.executions attach partition streams.%I for values from (%L) to (%L)',
            name, to_char(day, 'YYYY-MM-DD'), to_char(day + 1, 'YYYY-MM-DD'));
    end $$
    """,
    """
    create function streams.drop_ledger_day(day date) returns boolean
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
    declare
        name text := 'executions_' || to_char(day, 'YYYYMMDD');
        unfinished boolean;
    begin
        execute format('select exists (select from streams.%I where status = ''started'')', name) into unfinished;
        if not unfinished then
            execute format('drop table streams.%I', name);
        end if;
        return not unfinished;
    end $$
    """,
    "revoke all on function streams.create_ledger_day(date), streams.drop_ledger_day(date) from public",
    "comment on function streams.create_ledger_day is 'for a worker that does not own the ledger'",
    "comment on function streams.drop_ledger_day is 'false: the only copy of a long delivery''s record is in it'",
)


def upgrade() -> None:
    """Create the functions. Workers of the version before do without them, as owners of the tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the functions. Workers must own the tables again."""
    op.execute("drop function streams.create_ledger_day(date), streams.drop_ledger_day(date)")
