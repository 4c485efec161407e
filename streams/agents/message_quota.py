"""Messages: note their provider's use and charge its quota."""

from collections.abc import Sequence

from schemas import MessageCreated
from streams.agents.error_mapping import refusals_told
from streams.delivery import Permanent, Work, handles
from streams.dify.errors import CreditsMissingError
from streams.dify.ids import checked_id
from streams.dify.quota import Use, amount, record_uses


@handles(MessageCreated, kind="batch")
async def charge_message(events: Sequence[MessageCreated], work: Work) -> None:
    """Messages are charged once each, in the order of the list, whatever else charges the same quota meanwhile."""
    await record_uses(work.session, [use_of(event) for event in events])


def use_of(event: MessageCreated) -> Use:
    """What a message uses of which provider. Raises Permanent where the event cannot say."""
    if event.tenant_id is None:
        message = f"message {event.message_id} names no tenant to charge"
        raise Permanent(message)
    with refusals_told():
        tenant_id = checked_id("tenant_id", event.tenant_id)
    used = None
    if event.provider_type == "system" and event.quota_type is not None:
        tokens = event.message_tokens + event.answer_tokens
        try:
            used = amount(event.quota_unit, event.quota_limit, tokens, event.credits)
        except CreditsMissingError as error:
            message = f"message {event.message_id}: {error}"
            raise Permanent(message) from error
    names = (event.provider_name, event.provider_name_long)
    return Use(tenant_id, tuple(dict.fromkeys(filter(None, names))), event.quota_type, used)


HANDLERS = (charge_message,)
