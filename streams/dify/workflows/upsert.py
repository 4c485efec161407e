"""Writes states of runs or node executions: one statement for many rows, and a check that all rows are the tenant's.

A statement locks its rows in the order of their ids. So two workers with the same rows wait for each other and never
deadlock.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.database.pg_arrays import array_text
from streams.dify.errors import ForeignTenantError
from streams.dify.workflows.precedence import State, replaces_sql, winners

STATEMENT_CHARACTERS = 8 * 1024 * 1024
"""The size of the texts in one statement, above which the next row goes into another one."""


class Row(State, Protocol):
    """A row to write: its columns, and whose it is."""

    @property
    def tenant_id(self) -> str:
        """The tenant."""

    @property
    def size(self) -> int:
        """The characters of its large texts."""


R = TypeVar("R", bound=Row)


class Table:
    """A table whose rows have states, and its statements."""

    def __init__(self, name: str, what: str, types: Mapping[str, str], updated: Sequence[str]) -> None:
        """Build the statements.

        Args:
            name: The table.
            what: What a row is, in messages.
            types: The PostgreSQL type of each column. A row has the values under the same names.
            updated: The columns that a later state changes.
        """
        columns = ", ".join(f'"{column}"' for column in types)
        arrays = ", ".join(f"cast(:{column} as {kind}[])" for column, kind in types.items())
        changes = ", ".join(f'"{column}" = excluded."{column}"' for column in updated)
        self.what = what
        self.columns = tuple(types)
        self.upsert = text(f"""
            insert into {name} as stored ({columns})
            select {columns} from unnest({arrays}) as new ({columns})
            order by id
            on conflict (id) do update set {changes}
            where stored.tenant_id = excluded.tenant_id and {replaces_sql("stored")}
            returning id::text
        """)  # noqa: S608 - names of the platform's tables and columns
        self.foreign = text(f"""
            select stored.id::text from {name} as stored
            join unnest(cast(:ids as uuid[]), cast(:tenants as uuid[])) as new (id, tenant_id) on new.id = stored.id
            where stored.tenant_id <> new.tenant_id
            limit 1
        """)  # noqa: S608 - as above


async def save(session: AsyncSession, table: Table, rows: Sequence[R]) -> int:
    """Write the rows as if each was written alone, in this order. Return how many rows of the table changed.

    Raises:
        ForeignTenantError: A row with one of the ids belongs to another tenant.
    """
    written: set[str] = set()
    kept = winners(rows)
    _one_tenant(table, rows)
    for part in _parts(kept):
        values = {name: array_text(getattr(row, name) for row in part) for name in table.columns}
        written.update((await session.execute(table.upsert, values)).scalars())
    rest = [row for row in kept if row.id not in written]
    if rest:
        found = {"ids": [row.id for row in rest], "tenants": [row.tenant_id for row in rest]}
        foreign = await session.scalar(table.foreign, found)
        if foreign is not None:
            raise ForeignTenantError(_foreign_message(table, foreign))
    return len(written)


def _one_tenant(table: Table, rows: Sequence[R]) -> None:
    """Raise ForeignTenantError if two rows have one id and different tenants: only one of them can be stored."""
    tenants: dict[str, str] = {}
    for row in rows:
        if tenants.setdefault(row.id, row.tenant_id) != row.tenant_id:
            raise ForeignTenantError(_foreign_message(table, row.id))


def _foreign_message(table: Table, id_: str) -> str:
    return f"{table.what} {id_} belongs to another tenant than the event"


def _parts(rows: Sequence[R]) -> Iterator[list[R]]:
    part: list[R] = []
    size = 0
    for row in rows:
        if part and size + row.size > STATEMENT_CHARACTERS:
            yield part
            part, size = [], 0
        part.append(row)
        size += row.size
    if part:
        yield part


def utc_time(value: datetime) -> datetime:
    """Return a time as the platform's columns have it: UTC without a time zone. A time without a zone is UTC."""
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
