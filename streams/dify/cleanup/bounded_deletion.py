"""Bounded deletions of rows and files for the clean-ups after an app or a conversation.

A row that cannot be deleted, because of a foreign key or a trigger, does not stop the others: it is skipped. A step
that deletes nothing is the last one, so such a row never repeats the steps without end.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import CTE, ColumnElement, Row, Table, and_, delete, exists, func, literal, select, true, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import LeftBehindError
from streams.dify.models import Model, ToolFile, UploadFile
from streams.dify.platform import Platform
from streams.dify.sql import IdColumn, affected_rows, one_of
from streams.dify.tenancy import in_own_folder
from streams.dify.uploads import files
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
ROWS_PER_STEP = 5_000
"""The number of rows of a table that one step deletes."""
OWNERS_PER_STEP = 500
"""The number of messages, conversations or executions that one step deletes, with the rows that belong to them."""
_INTEGRITY, _RAISED = "23", "P0001"
"""The SQLSTATE class of violated constraints, and the code of an error that a trigger raises."""
Rows = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class RemovedAnnotation:
    """A deleted annotation that is still in the annotation index of its app."""

    annotation_id: str
    app_id: str
    collection_binding_id: str


@dataclass(slots=True)
class DeletionStep:
    """One bounded step of deletions after an app or a conversation, in one transaction."""

    session: AsyncSession
    platform: Platform
    what: str
    """What was deleted, for messages, such as ``app <id>``."""
    tenant_id: str | None
    """None: unknown."""
    removed: Counter[str] = field(default_factory=Counter)
    """The number of deleted objects, by table."""
    annotations: list[RemovedAnnotation] = field(default_factory=list)
    """The deleted annotations that must be removed from an index."""
    collections: list[str] = field(default_factory=list)
    """The dropped collections of the vector store."""
    done: bool = False
    """True: nothing is left. False: another step has to follow."""

    async def rows(self, table: Table, which: Rows) -> int:
        """Delete some rows of a table, at most `ROWS_PER_STEP`. Returns their number."""
        key = tuple_(*table.primary_key.columns)
        some = select(*table.primary_key.columns).where(which).limit(ROWS_PER_STEP)
        try:
            async with self.session.begin_nested():
                count = await affected_rows(self.session, delete(table).where(key.in_(some)))
        except DBAPIError as error:
            check_undeletable(error)
            count = await self._halved(table, (await self.session.execute(some)).all())
        self.removed[table.name] += count
        return count

    async def emptied(self, table: Table, which: Rows) -> bool:
        """Delete some rows of a table. Returns False if there may be more that can be deleted."""
        return await self.rows(table, which) < ROWS_PER_STEP

    async def all_emptied(self, conditions: Sequence[tuple[Table, Rows]]) -> bool:
        """Delete some rows of each of these tables in one statement. Returns False if there may be more."""
        gone = [_deleted(table, which) for table, which in conditions]
        numbers = [select(func.count()).select_from(rows).scalar_subquery() for rows in gone]
        try:
            async with self.session.begin_nested():
                counts = (await self.session.execute(select(*numbers))).one()
        except DBAPIError as error:
            check_undeletable(error)
            return all([await self.emptied(table, which) for table, which in conditions])
        for (table, _), count in zip(conditions, counts, strict=True):
            self.removed[table.name] += count
        return all(count < ROWS_PER_STEP for count in counts)

    async def files(self, kind: type[UploadFile] | type[ToolFile], which: Rows) -> bool:
        """Delete some files from the storage, then their rows. Returns False if there may be more.

        A key in the folder of another tenant stays in the storage. A rollback restores the rows but not the files; the
        repeated deletion then finds no files, which is no error.
        """
        key = UploadFile.key if kind is UploadFile else ToolFile.file_key
        if self.tenant_id is not None:
            which = which & (kind.tenant_id == self.tenant_id)
        # One order everywhere, so that two clean-ups do not deadlock.
        query = select(kind.id, kind.tenant_id, key).where(which).order_by(kind.id).limit(files.FILES_PER_STEP)
        found = (await self.session.execute(query.with_for_update())).all()
        if not found:
            return True
        for _, tenant_id, stored in found:
            if in_own_folder(stored, tenant_id):
                await self.platform.storage.delete(stored)
        count = await self.rows(table_of(kind), one_of(kind.id, [file_id for file_id, *_ in found]))
        return count == 0 or len(found) < files.FILES_PER_STEP

    def finish(self, left: Sequence[str]) -> None:
        """Decide whether another step has to follow. `left` are the tables that still have rows.

        Raises LeftBehindError if something is left that this step could not delete.
        """
        if left and not self.removed.total():
            text = f"the clean-up of {self.what} has ended, but rows are left that cannot be deleted: {', '.join(left)}"
            raise LeftBehindError(text)
        self.done = not left

    async def _halved(self, table: Table, keys: Sequence[Row[Any]]) -> int:
        """Delete the rows with these keys except those that cannot be deleted. Returns the number of deleted rows."""
        which = tuple_(*table.primary_key.columns).in_([tuple(key) for key in keys])
        try:
            async with self.session.begin_nested():
                return await affected_rows(self.session, delete(table).where(which))
        except DBAPIError as error:
            check_undeletable(error)
            if len(keys) == 1:
                log.warning("a row cannot be deleted", table=table.name, of=self.what, error=message(error))
                return 0
        middle = len(keys) // 2
        return await self._halved(table, keys[:middle]) + await self._halved(table, keys[middle:])


def _deleted(table: Table, which: Rows) -> CTE:
    """Return the deletion of some rows of a table, at most `ROWS_PER_STEP`, as a part of another statement."""
    key = tuple_(*table.primary_key.columns)
    some = select(*table.primary_key.columns).where(which).limit(ROWS_PER_STEP)
    return delete(table).where(key.in_(some)).returning(literal(1)).cte(f"of_{table.name}")


def table_of(model: type[Model]) -> Table:
    """Return the table of a model."""
    return Model.metadata.tables[model.__tablename__]


def without_parts(owner: IdColumn, parts: Iterable[IdColumn]) -> Rows:
    """Return the condition that no row of the parts' tables names the owner any more.

    An owner with a part that could not be deleted stays too. Without it the part could not be found again.
    """
    return and_(true(), *(~exists().where(part == owner) for part in parts))


async def tables_with_rows(session: AsyncSession, conditions: Sequence[tuple[Table, Rows]]) -> list[str]:
    """Return the names of the tables that have a row of their condition, in one query."""
    checks = [exists().where(which).label(table.name) for table, which in conditions]
    found = (await session.execute(select(*checks))).one()
    return [table.name for (table, _), is_there in zip(conditions, found, strict=True) if is_there]


async def lock_cleanup(session: AsyncSession, exclusive: str, *shared: str) -> None:
    """Lock clean-ups until the transaction ends: this one, and those that contain it against their own clean-up.

    It also disables sequential scans.
    """
    await disable_sequential_scans(session)
    for name in shared:
        await session.execute(select(func.pg_advisory_xact_lock_shared(_lock_key(name))))
    await session.execute(select(func.pg_advisory_xact_lock(_lock_key(exclusive))))


async def disable_sequential_scans(session: AsyncSession) -> None:
    """Disable sequential scans until the transaction ends.

    For the first few of many rows the planner may read the whole table, and then each step would read again all rows
    that the previous steps have deleted.
    """
    await session.execute(select(func.set_config("enable_seqscan", "off", True)))  # noqa: FBT003 - is_local


def _lock_key(name: str) -> ColumnElement[int]:
    return func.hashtextextended(f"clean-up of {name}", 0)


def check_undeletable(error: DBAPIError) -> None:
    """Raise the error again unless it is about the rows, and not about the server or another transaction."""
    state = getattr(error.orig, "sqlstate", None) or ""
    if not (state.startswith(_INTEGRITY) or state == _RAISED):
        raise error
