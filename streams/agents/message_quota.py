"""Handler for messages: records the use of their provider and charges its quota."""

from collections.abc import Sequence

from schemas import MessageCreated
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Permanent, Work, handles
from streams.dify.errors import CreditsMissingError
from streams.dify.ids import checked_id
from streams.dify.quota import Usage, charge_amount, record_usage


@handles(MessageCreated, kind="batch")
async def charge_message(events: Sequence[MessageCreated], work: Work) -> None:
    """Charge each message exactly once, in the order of the list, also with concurrent charges of the same quota."""
    await record_usage(work.session, [usage_of(event) for event in events])


def usage_of(event: MessageCreated) -> Usage:
    """Return the provider usage of a message. Raises Permanent if the event is incomplete."""
    if event.tenant_id is None:
        message = f"message {event.message_id} names no tenant to charge"
        raise Permanent(message)
    with mapped_errors():
        tenant_id = checked_id("tenant_id", event.tenant_id)
    used = None
    if event.provider_type == "system" and event.quota_type is not None:
        tokens = event.message_tokens + event.answer_tokens
        try:
            used = charge_amount(event.quota_unit, event.quota_limit, tokens, event.credits)
        except CreditsMissingError as error:
            message = f"message {event.message_id}: {error}"
            raise Permanent(message) from error
    names = (event.provider_name, event.provider_name_long)
    return Usage(tenant_id, tuple(dict.fromkeys(filter(None, names))), event.quota_type, used)


HANDLERS = (charge_message,)
