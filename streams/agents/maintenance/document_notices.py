"""Handler of the notices about disabled documents."""

from collections import Counter

from schemas import DocumentNoticesRequested, MailRequested
from schemas.event import new_event_id
from streams.agents.error_mapping import mapped_errors
from streams.agents.workspace.mail import NOTICE
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.accounts.billing import Billing
from streams.dify.accounts.disabled_documents import mark_as_notified, owner_of, tenants_after
from streams.dify.mail.mailer import Mailer
from streams.dify.retention.step import STEP_SECONDS, start_budget
from streams.schedules.steps import continue_run

UNTOLD = "sandbox"
"""The plan whose tenants are not told, as on the platform. A tenant without a plan is not told either."""


@handles(
    DocumentNoticesRequested,
    retry=Backoff(first="30s", factor=3, attempts=8),
    soft_time_limit="80s",
    time_limit="100s",
    needs="billing",
)
async def notify_document_owners(event: DocumentNoticesRequested, work: Work) -> JSON:
    """Tell the owner of each tenant by mail which documents were disabled, and mark the logs in the same transaction.

    Logs of a tenant that gets no mail are marked too. Nothing is marked while no mail service is configured, or the
    billing service does not answer.
    """
    if work.use(Mailer).post is None:
        return {"done": True, "why": "no mail service is configured (STREAMS_MAIL_TYPE)"}
    counts, cursor, budget = Counter[str](), event.cursor, start_budget(STEP_SECONDS)
    while tenants := await tenants_after(work.session, cursor):
        for one in tenants:
            if one.is_open:
                counts += await _notify(work, one.tenant_id)
            cursor = one.tenant_id
            if budget.is_spent:
                following = event.model_copy(update={"event_id": new_event_id(), "cursor": cursor})
                await continue_run(work, event, following)
                return {"done": False, **counts}
    return {"done": True, **counts}


async def _notify(work: Work, tenant_id: str) -> Counter[str]:
    """Mark the logs of a tenant, and publish the mail to its owner. Returns what was done, as counts."""
    with mapped_errors():
        plan = await work.use(Billing).plan(tenant_id)
    marked = await mark_as_notified(work.session, tenant_id)
    counts = Counter({"tenants": 1, "logs": marked.logs})
    if plan in {None, UNTOLD} or not marked.documents:
        return counts
    owner = await owner_of(work.session, tenant_id)
    if owner is None:
        return counts + Counter(without_owner=1)
    await work.publish(
        MailRequested(
            tenant_id=tenant_id,
            kind=NOTICE,
            to=[owner.receiver.address],
            language=owner.receiver.language,
            account_name=owner.name,
            workspace_name=owner.workspace,
            substitutions=marked.documents,
        )
    )
    return counts + Counter(mails=1)


HANDLERS = (notify_document_owners,)
