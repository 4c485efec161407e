"""Handler for messages: records the use of their provider and charges its quota."""

from collections.abc import Sequence

from schemas import MessageCreated
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Permanent, Work, handles
from streams.dify.errors import CreditsMissingError
from streams.dify.ids import checked_id, checked_text
from streams.dify.quota import MAX_AMOUNT, Usage, charge_amount, record_usage


@handles(MessageCreated, kind="batch")
async def charge_message(events: Sequence[MessageCreated], work: Work) -> None:
    """Charge each message exactly once, in the order of the list, also with concurrent charges of the same quota."""
    await record_usage(work.session, [usage_of(event) for event in events])


def usage_of(event: MessageCreated) -> Usage:
    """Return the provider usage of a message. Raises Permanent if the event is incomplete or cannot be right."""
    if event.tenant_id is None:
        message = f"message {event.message_id!r} names no tenant to charge"
        raise Permanent(message)
    with mapped_errors():
        tenant_id = checked_id("tenant_id", event.tenant_id)
        name = checked_text("provider_name", event.provider_name)
        long_name = checked_text("provider_name_long", event.provider_name_long or "")
        _check_amount(event, "message_tokens", event.message_tokens)
        _check_amount(event, "answer_tokens", event.answer_tokens)
        _check_amount(event, "credits", event.credits)
    used = None
    if event.provider_type == "system" and event.quota_type is not None:
        tokens = event.message_tokens + event.answer_tokens
        try:
            used = charge_amount(event.quota_unit, event.quota_limit, tokens, event.credits)
        except CreditsMissingError as error:
            message = f"message {event.message_id!r}: {error}"
            raise Permanent(message) from error
    return Usage(tenant_id, tuple(dict.fromkeys(filter(None, (name, long_name)))), event.quota_type, used)


def _check_amount(event: MessageCreated, field: str, amount: int | None) -> None:
    """Raise Permanent for a negative number, which would give quota back, and for one that no message can have."""
    if amount is not None and not 0 <= amount <= MAX_AMOUNT:
        message = f"message {event.message_id!r}: {field} is {amount}, which is not between 0 and {MAX_AMOUNT}"
        raise Permanent(message)


HANDLERS = (charge_message,)
