"""The platform's billing service."""

from dataclasses import dataclass
from http import HTTPStatus
from json import loads

from streams.dify.errors import BillingAwayError, RefusedError
from streams.dify.http import Answer, Service, Timeouts, as_object, send
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class Billing:
    """The billing service of a deployment. Handlers get it by `work.use(Billing)`."""

    url: str | None
    """None: there is no billing."""
    service: Service

    async def delete_account(self, account_id: str) -> bool:
        """Tell the service that an account is to be deleted. Returns False if there is no service.

        An account that the service does not know is deleted already, for example by a former attempt.

        Raises:
            RefusedError: The service rejects the request.
            BusyError: The service asks for a pause.
            BillingAwayError: The service is unavailable.
        """
        if self.url is None:
            return False
        answer = await send(
            self.service, "DELETE", f"{self.url}/account/", away=BillingAwayError, params={"account_id": account_id}
        )
        if answer.is_success or answer.status == HTTPStatus.NOT_FOUND:
            return True
        message = f"{self.service.name} rejects the deletion of the account: {answer.status} {answer.shown}"
        raise RefusedError(message)

    async def plan(self, tenant_id: str) -> str | None:
        """Return the plan of a tenant. None: there is no service, or it does not know the tenant.

        An answer without a plan is a failure of the service, so that no caller takes it for a plan.

        Raises:
            RefusedError: The service rejects the request.
            BusyError: The service asks for a pause.
            BillingAwayError: The service is unavailable, or its answer has no plan.
        """
        if self.url is None:
            return None
        url = f"{self.url}/subscription/info"
        answer = await send(self.service, "GET", url, away=BillingAwayError, params={"tenant_id": tenant_id})
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        if not answer.is_success:
            message = f"{self.service.name} rejects the request for a plan: {answer.status} {answer.shown}"
            raise RefusedError(message)
        plan = _plan_in(answer)
        if plan is None:
            message = f"{self.service.name} answers without a plan"
            raise BillingAwayError(message)
        return plan


def _plan_in(answer: Answer) -> str | None:
    try:
        body: object = loads(answer.body)
    except (ValueError, RecursionError):
        return None
    plan = as_object(as_object(body).get("subscription")).get("plan")
    return plan if isinstance(plan, str) and plan else None


def build_billing(settings: Settings) -> Billing:
    """Create the client of the settings. No connection is opened."""
    key = {"Billing-Api-Secret-Key": settings.billing_key.get_secret_value()} if settings.billing_key else {}
    timeouts = Timeouts(settings.service_connect_timeout, settings.service_request_timeout)
    url = None if settings.billing_url is None else settings.billing_url.rstrip("/")
    return Billing(url, Service("the billing service", key, timeouts))
