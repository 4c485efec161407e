"""Row counts of statements."""

from sqlalchemy import Delete, Update
from sqlalchemy.ext.asyncio import AsyncSession


async def affected_rows(session: AsyncSession, statement: Delete | Update) -> int:
    """Execute a statement and return the number of affected rows. The session's objects are not synchronised."""
    return (await (await session.connection()).execute(statement)).rowcount
