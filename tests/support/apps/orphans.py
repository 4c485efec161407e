"""A package whose author has forgotten the topic of its event."""

from schemas import Event
from streams.delivery import Work, handles


class OrderPaid(Event):
    """No topic has these events."""

    order_id: str


@handles(OrderPaid)
async def send_invoice(event: OrderPaid, work: Work) -> None:
    """Never run."""


HANDLERS = (send_invoice,)
