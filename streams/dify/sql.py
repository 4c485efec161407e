"""How many rows a statement has changed."""

from sqlalchemy import Delete, Update
from sqlalchemy.ext.asyncio import AsyncSession


async def affected(session: AsyncSession, statement: Delete | Update) -> int:
    """Run it beside the session's objects, which it does not look at; says how many rows it took."""
    return (await (await session.connection()).execute(statement)).rowcount
