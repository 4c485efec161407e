"""Blocks work on the database while it does not answer. No attempt is counted meanwhile.

An error alone does not tell an outage: a statement can end its own server process, and others go on. So the gate asks
the database with a new connection. If it answers, the deliveries run again, a few times. Then it was their own failure.

A statement can also crash the whole server. All that ran then look alike, and the same runs meet again after it. So
deliveries that have lost a few runs run one at a time: the next runs are lost by one delivery. It does not matter
whether the database answered after a lost run: a server can be back before the gate asks.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Literal

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from streams.database.ledger_errors import READ_ONLY, is_ledger_error
from streams.delivery.delivery import Delivery
from streams.observability.error_text import message
from streams.observability.logs import get_logger

log = get_logger(__name__)
PROBE_INTERVAL = 0.5
"""Seconds between two probes of a database that did not answer."""
PROBE_TIMEOUT = 5.0
"""Seconds for one probe, opening its connection included."""
CONFLICT_RERUNS = 5
"""Uncounted reruns of a unit after a serialization failure or deadlock. The next one is a failed attempt."""
LOST_RUNS = 5
"""Uncounted runs of a delivery that lost their connection. The next one is a failed attempt."""
Uncounted = Literal["outage", "lost run"]
"""Why a run that has failed is no failed attempt."""
RUNS_LOST_TOGETHER = 3
"""Runs that deliveries lose side by side. Then each of them may be the cause, and they run one at a time."""
LOST_RUN_PAUSE = 0.1
"""Seconds until a run that lost its connection is repeated. Each further pause is this much longer."""
DISK_FULL = "53100"
_OUTAGE_CODES = {READ_ONLY, "53000", DISK_FULL, "53200", "53300"}
"""Read-only, and a lack of disk, memory or connections. 53400 is a limit of one statement, such as temp_file_limit."""
_OUTAGE_CLASSES = ("08", "57P")
_RESOURCE_CODES = {"53000", DISK_FULL, "53200"}
"""A lack that one statement can cause, and that is over when the statement has failed."""
_CONFLICT_CODES = ("40001", "40P01")
_TIMEOUT_CODES = ("25P03", "25P04", "55P03")
"""Errors of the time-outs in `transaction.SET_TIMEOUTS`. The first two also close the connection, without an outage."""
IS_READ_ONLY = text("select current_setting('transaction_read_only') = 'on'")
TAKE_SPACE = text(
    "create temporary table streams_probe on commit drop as"
    " select repeat('x', 100) as filler from generate_series(1, 2000)"
)
"""Fails on a full disk. A new table cannot use free space of other tables."""

DatabaseErrorKind = Literal["outage", "conflict", "timeout"]


def database_error_kind(error: BaseException) -> DatabaseErrorKind | None:
    """Return the kind of a database error; None: it is a failure of the delivery itself.

    outage: the ledger's database may be unavailable; `DatabaseGate.confirm` finds out. conflict: a serialization
    failure or deadlock; a rerun may succeed. timeout: the transaction or its wait for a lock took too long. For a
    handler that is a failed attempt; bookkeeping statements are retried.
    """
    if isinstance(error, PoolTimeoutError):
        return "outage" if is_ledger_error(error) else None
    if not isinstance(error, DBAPIError):
        return None
    code = _sqlstate(error)
    if code in _CONFLICT_CODES:
        return "conflict"
    if code in _TIMEOUT_CODES:
        return "timeout"
    return "outage" if is_ledger_error(error) and _looks_unavailable(error, code) else None


def may_be_self_inflicted(error: BaseException) -> bool:
    """Return whether a statement may have caused its outage: it was connected, and lost the connection or memory."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _sqlstate(error) in _RESOURCE_CODES)


def counts_lost_run(deliveries: Sequence[Delivery], error: BaseException) -> bool:
    """Note that a run ended with an outage. Return True if that is now a failed attempt of its deliveries.

    It is one if each of their last `LOST_RUNS` runs lost its connection too. An outage that no statement can cause,
    such as a refused connection, never counts.
    """
    if not may_be_self_inflicted(error):
        return False
    if max(delivery.lost_runs for delivery in deliveries) >= LOST_RUNS:
        return True
    for delivery in deliveries:
        delivery.lost_runs += 1
    return False


def forget_lost_runs(delivery: Delivery) -> None:
    """Begin to count again: an attempt has failed."""
    delivery.lost_runs = 0


def _looks_unavailable(error: DBAPIError, code: str | None) -> bool:
    if error.connection_invalidated or (code is None and isinstance(error, OperationalError)):
        return True
    return code is not None and (code in _OUTAGE_CODES or code.startswith(_OUTAGE_CLASSES))


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


class DatabaseGate:
    """Open while the database answers. It closes on an outage, probes in the background, and opens again."""

    def __init__(self, engine: AsyncEngine, report: Callable[[str | None], None] = lambda _error: None) -> None:
        """Create an open gate.

        Args:
            engine: Connects to the database. Best without a pool, so that each probe opens a connection.
            report: Called with the error of an outage, and with None when it is over.
        """
        self._engine = engine
        self._report = report
        self._open = asyncio.Event()
        self._open.set()
        self._turn = asyncio.Lock()
        self._no_turn = nullcontext()
        self.needs_turns = False
        """Whether any delivery has lost `RUNS_LOST_TOGETHER` runs. An attribute, because it is read for every run."""
        self._probe: asyncio.Task[None] | None = None
        self._confirmed: asyncio.Future[bool] | None = None
        """Whether the first probe failed; while it runs, without a result."""

    @property
    def is_open(self) -> bool:
        """Whether the database answered last time."""
        return self._open.is_set()

    async def wait_until_open(self) -> None:
        """Return once the gate is open."""
        await self._open.wait()

    def turn(self, deliveries: Sequence[Delivery]) -> AbstractAsyncContextManager[None]:
        """Return what one run of deliveries is done in, until the gate has confirmed or denied its outage.

        If they have lost `RUNS_LOST_TOGETHER` runs, it waits until no other such run goes on in this process, in any
        pool, and until the gate is open.
        """
        if max(delivery.lost_runs for delivery in deliveries) < RUNS_LOST_TOGETHER:
            return self._no_turn
        return self._alone()

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        async with self._turn:
            await self.wait_until_open()
            yield

    async def judge(self, deliveries: Sequence[Delivery], error: Exception) -> Uncounted | None:
        """Return why a run that ended with this error is no failed attempt; None: it is one, or a conflict.

        outage: the database does not answer, and the gate is closed. lost run: it answers; run again after a moment.
        """
        if database_error_kind(error) != "outage":
            return None
        has_failed = counts_lost_run(deliveries, error)
        self.needs_turns |= max(delivery.lost_runs for delivery in deliveries) >= RUNS_LOST_TOGETHER
        confirmed = await self.confirm(error)
        if has_failed:
            return None
        return "outage" if confirmed else "lost run"

    async def confirm(self, error: BaseException) -> bool:
        """Close the gate and ask the database. Return True for an outage: the gate stays closed until it is over.

        False: the database answers, and the gate is open again. Then the caller should wait for a moment.
        """
        if self._open.is_set() or self._confirmed is None:
            self._open.clear()
            self._confirmed = asyncio.get_running_loop().create_future()
            self._probe = asyncio.create_task(self._probe_until_available(error, self._confirmed))
        return await asyncio.shield(self._confirmed)

    async def _probe_until_available(self, error: BaseException, confirmed: asyncio.Future[bool]) -> None:
        failure = await self._ask(error)
        if failure is None:
            log.info("a statement lost the database, which answers", error=message(error))
        else:
            log.warning("database does not answer; deliveries wait", error=message(error), probe=failure)
            self._report(failure)
        confirmed.set_result(failure is not None)
        while failure is not None:
            await asyncio.sleep(PROBE_INTERVAL)
            if (failure := await self._ask(error)) is None:
                log.info("database answers again")
                self._report(None)
            else:
                log.debug("database still does not answer", error=failure)
        self._open.set()

    async def _ask(self, cause: BaseException) -> str | None:
        """Return why the database cannot be used; None: it can."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT), self._engine.connect() as connection:
                if (await connection.execute(IS_READ_ONLY)).scalar():
                    await connection.invalidate()
                    return "the server is read-only"
                if isinstance(cause, DBAPIError) and _sqlstate(cause) == DISK_FULL:
                    await _take_space(connection)
        except Exception as error:  # noqa: BLE001 - a gate that stays closed would stop the whole worker
            return message(error) or type(error).__name__
        return None

    async def close(self) -> None:
        """Stop the probe."""
        if self._probe is not None:
            self._probe.cancel()
        if self._confirmed is not None:
            self._confirmed.cancel()


async def _take_space(connection: AsyncConnection) -> None:
    """Raise an error if the disk is full. A role that may not create temporary tables cannot find out."""
    try:
        await connection.execute(TAKE_SPACE)
    except ProgrammingError as error:
        log.debug("cannot find out whether the disk is full", error=message(error))
    finally:
        await connection.rollback()
