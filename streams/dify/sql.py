"""Row counts of statements, and the condition for many ids."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Delete, Update, any_, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

IdColumn = InstrumentedAttribute[str] | InstrumentedAttribute[str | None]


def one_of(column: IdColumn, ids: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a column has one of these ids. It is one array instead of one parameter per id."""
    return column == any_(literal(list(ids), ARRAY(column.type)))


async def affected_rows(session: AsyncSession, statement: Delete | Update) -> int:
    """Execute a statement and return the number of affected rows. The session's objects are not synchronised."""
    return (await (await session.connection()).execute(statement)).rowcount
