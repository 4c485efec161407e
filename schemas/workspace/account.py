"""Events of accounts."""

from schemas.event import Event


class AccountDeletionRequested(Event):
    """A person has confirmed to delete their account. The billing service is told, then the person by mail."""

    account_id: str
