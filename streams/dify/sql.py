"""Row counts of statements, ids as text, and the condition for many ids."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Delete, Dialect, Text, Update, any_, cast, literal
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeDecorator, UserDefinedType

IdColumn = InstrumentedAttribute[str] | InstrumentedAttribute[str | None]
_UUID_LENGTH = 36


class _UuidArrayColumn(UserDefinedType[object]):
    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_: object) -> str:
        return "UUID[]"


class UuidArray(TypeDecorator[Collection[str]]):
    """An array of UUIDs that is sent as one text.

    The driver looks for quotes in each element of a list. For thousands of ids that takes longer than the statement.
    """

    impl = _UuidArrayColumn
    cache_ok = True

    def process_bind_param(self, value: Collection[str] | None, dialect: Dialect) -> object:  # noqa: ARG002
        """Return the array as PostgreSQL writes it. The driver quotes what is no UUID, and the server rejects it."""
        if value is None or any(len(one) != _UUID_LENGTH for one in value):
            return None if value is None else list(value)
        return f"{{{','.join(value)}}}"


def one_of(column: IdColumn, ids: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that a column has one of these ids. It is one array instead of one parameter per id."""
    return column == any_(literal(tuple(ids), UuidArray()))


def as_text(column: IdColumn) -> ColumnElement[str]:
    """Return an id as the server writes it. Without this the driver makes an object of each, then the model a text."""
    return cast(column, Text)


async def affected_rows(session: AsyncSession, statement: Delete | Update) -> int:
    """Execute a statement and return the number of affected rows. The session's objects are not synchronised."""
    return (await (await session.connection()).execute(statement)).rowcount
