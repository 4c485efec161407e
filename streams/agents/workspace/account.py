"""Handler of deletions of accounts: tells the billing service, then the person."""

from schemas import AccountDeletionRequested, MailRequested
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.accounts.billing import Billing
from streams.dify.accounts.receiver import receiver_of
from streams.dify.ids import checked_id, optional_id


@handles(
    AccountDeletionRequested,
    retry=Backoff(first="30s", factor=3, attempts=12),
    soft_time_limit="50s",
    time_limit="60s",
    needs="billing",
)
async def delete_account(event: AccountDeletionRequested, work: Work) -> JSON:
    """Tell the billing service, and request the mail in the transaction that records the success.

    The row of the account stays, as on the platform.
    """
    with mapped_errors():
        account_id = checked_id("account_id", event.account_id)
        receiver = await receiver_of(work.session, account_id, optional_id("tenant_id", event.tenant_id))
        told = await work.use(Billing).delete_account(account_id)
    await work.publish(
        MailRequested(
            tenant_id=event.tenant_id,
            kind="account-deletion-success",
            to=[receiver.address],
            language=receiver.language,
        )
    )
    return {"billing": "told" if told else "not configured"}


HANDLERS = (delete_account,)
