"""The plans of tenants, asked from the billing service once in a step."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from streams.dify.accounts.billing import Billing
from streams.dify.errors import BillingAwayError, BusyError
from streams.dify.retention.step import TimeBudget

SANDBOX = "sandbox"
"""The plan of tenants that do not pay."""


class OfTenant(Protocol):
    """A row that says whose it is."""

    @property
    def tenant_id(self) -> str | None:
        """None: the owner does not exist (any more)."""


R = TypeVar("R", bound=OfTenant)


class TenantPlans:
    """The plans that the billing service has told in this step. Without billing no tenant has a plan."""

    def __init__(self, billing: Billing, budget: TimeBudget) -> None:
        """Nothing is asked yet."""
        self._billing = billing
        self._budget = budget
        self._plans: dict[str, str | None] = {}

    async def plan(self, tenant_id: str) -> str | None:
        """Return the plan of a tenant; None: it has none. Raises the errors of `Billing.plan`."""
        if tenant_id not in self._plans:
            self._plans[tenant_id] = await self._billing.plan(tenant_id)
        return self._plans[tenant_id]

    def is_sandbox(self, row: OfTenant) -> bool:
        """Return whether the tenant of a row that `known` has returned has the plan sandbox."""
        return row.tenant_id is not None and self._plans.get(row.tenant_id) == SANDBOX

    async def known(self, rows: Sequence[R], *, first: bool) -> Sequence[R]:
        """Return the rows up to the first whose plan cannot be told in this step.

        If the time of the step is spent or the service fails after some rows, these can still be handled. So each step
        makes progress, also with many tenants or a service that answers slowly.

        Args:
            rows: the rows, in the order in which they are handled.
            first: the step has not handled any row yet. Then the plan of the first row is asked for in any case.

        Raises:
            RefusedError: the service rejects the request.
            BusyError: the service asks for a pause, and no row was handled before.
            BillingAwayError: the service is unavailable, and no row was handled before.
        """
        for number, row in enumerate(rows):
            if row.tenant_id is None or row.tenant_id in self._plans:
                continue
            progress = number > 0 or not first
            if progress and self._budget.is_spent:
                return rows[:number]
            try:
                await self.plan(row.tenant_id)
            except (BusyError, BillingAwayError):
                if not progress:
                    raise
                return rows[:number]
        return rows
