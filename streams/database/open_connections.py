"""Counts the open connections of an engine. The pool itself also counts those that were closed after an error."""

from sqlalchemy import Engine, event

from streams.database.ledger_errors import LedgerPool


class OpenConnections:
    """The connections of one engine, which has a `LedgerPool`."""

    def __init__(self, engine: Engine) -> None:
        """Count from now on; no connection is open yet."""
        self._engine = engine
        self._open = 0
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "close", self._closed)

    def counts(self) -> tuple[int, int, int]:
        """Return how many connections are in use, how many are idle, and how many the engine opens at most.

        A connection that is being opened is in use.
        """
        pool = self._engine.pool
        if not isinstance(pool, LedgerPool):
            message = "the pool of this engine counts no connections"
            raise TypeError(message)
        in_use = pool.checkedout()
        return in_use, max(0, self._open - in_use), pool.size()

    def _connected(self, *_arguments: object) -> None:
        self._open += 1

    def _closed(self, *_arguments: object) -> None:
        self._open -= 1
