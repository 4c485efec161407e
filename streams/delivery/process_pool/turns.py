"""Decides which waiting call gets the next compute process, so that no tenant holds all of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

SPARE = 1
"""Processes in addition to those of the settings. So a tenant that holds all of those does not stop the others."""


def next_turn(waiting: Sequence[str], running: Mapping[str, int], processes: int) -> int | None:
    """Return the index of the waiting call that may start now; None: none of them.

    A tenant with fewer running calls comes first, then the call that waits longest.

    Args:
        waiting: The tenants of the waiting calls, in the order in which they came.
        running: Tenant → its running calls.
        processes: How many calls of one tenant may run.
    """
    if sum(running.values()) >= processes + SPARE:
        return None
    allowed = (index for index, tenant in enumerate(waiting) if running.get(tenant, 0) < processes)
    return min(allowed, key=lambda index: (running.get(waiting[index], 0), index), default=None)


class Turns:
    """The waiting and the running calls of one pool."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._running: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, tenant: str) -> AsyncIterator[None]:
        """Wait until a call of the tenant may start. It runs until the block ends."""
        came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((tenant, came))
        self._start_next()
        try:
            await came
            yield
        finally:
            if came.done() and not came.cancelled():
                self._running -= Counter({tenant: 1})
            elif (tenant, came) in self._waiting:
                self._waiting.remove((tenant, came))
            self._start_next()

    def _start_next(self) -> None:
        while True:
            index = next_turn([tenant for tenant, _ in self._waiting], self._running, self._processes)
            if index is None:
                return
            tenant, came = self._waiting.pop(index)
            if not came.done():
                self._running[tenant] += 1
                came.set_result(None)
