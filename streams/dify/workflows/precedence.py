"""Decides which of two states of one run or node execution is kept. Both statements and plain code decide alike.

Events of one run may arrive in another order, since a retried event is late. So the states themselves have an order:

1. `running` is replaced by any other state, `retry` by a final one, and a final state by no state that is not final.
2. Of two final states, the one that finished later is kept. If both finished at the same time, the one with the
   greater values of some columns is kept, so that the outcome does not depend on the order of arrival.
3. Of two equal states that are not final, the one that arrives later is kept.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, TypeVar

FINAL = ("succeeded", "failed", "stopped", "partial-succeeded", "exception")
"""The final states of runs and of node executions."""
RETRY = "retry"
"""A node failed, and its next attempt has an execution of its own."""
RUN_STATES = frozenset({"running", "paused", "succeeded", "failed", "stopped", "partial-succeeded"})
NODE_STATES = frozenset({"pending", "running", "paused", "retry", "succeeded", "failed", "stopped", "exception"})


class State(Protocol):
    """The columns that decide."""

    @property
    def id(self) -> str:
        """The row's id."""

    @property
    def status(self) -> str:
        """One of the states."""

    @property
    def finished_at(self) -> datetime | None:
        """UTC without a time zone; None: not finished."""

    @property
    def outputs(self) -> str:
        """JSON text."""


S = TypeVar("S", bound=State)


def rank(status: str) -> int:
    """Return 2 for a final state, 1 for a failed attempt of a node, 0 for a state that can continue."""
    return 2 if status in FINAL else int(status == RETRY)


def replaces(new: State, stored: State) -> bool:
    """Return whether the state `new`, which arrives later, replaces the stored one."""
    if rank(new.status) != rank(stored.status):
        return rank(new.status) > rank(stored.status)
    return rank(new.status) == 0 or _order(new) > _order(stored)


def _order(state: State) -> tuple[datetime, bytes, bytes]:
    return state.finished_at or datetime.min, state.status.encode(), state.outputs.encode()  # noqa: DTZ901 - as stored


def winners(states: Sequence[S]) -> list[S]:
    """Return one state per id, in the order of the ids: the one that is kept after all arrive in this order."""
    kept: dict[str, S] = {}
    for state in states:
        stored = kept.get(state.id)
        if stored is None or replaces(state, stored):
            kept[state.id] = state
    return [kept[id_] for id_ in sorted(kept)]


def replaces_sql(stored: str) -> str:
    """Return the condition of `replaces` for ON CONFLICT DO UPDATE.

    The collation "C" compares texts as Python compares bytes.

    Args:
        stored: The name of the stored row in the statement.
    """
    new = "excluded"
    return f"""(
        {_rank_sql(new)} > {_rank_sql(stored)}
        or {_rank_sql(new)} = {_rank_sql(stored)}
            and ({_rank_sql(new)} = 0 or {_order_sql(new)} > {_order_sql(stored)})
    )"""


def _rank_sql(row: str) -> str:
    final = ", ".join(f"'{status}'" for status in FINAL)
    return f"(case when {row}.status in ({final}) then 2 when {row}.status = '{RETRY}' then 1 else 0 end)"


def _order_sql(row: str) -> str:
    return (
        f"""(coalesce({row}.finished_at, '-infinity'), {row}.status collate "C", """
        f"""coalesce({row}.outputs, '') collate "C")"""
    )
