"""Errors of the Kafka transport. Each message is one line."""


class StartError(Exception):
    """The worker cannot start. The message is one line: what is wrong and what to do."""

    __module__ = "streams.transport"


class BrokersUnreachableError(StartError):
    """No broker answered. The message names the addresses and the setting they came from."""

    __module__ = "streams.transport"


class TransportError(Exception):
    """This process can no longer consume or produce. It ends, and another one takes over."""

    __module__ = "streams.transport"


class NotSupportedError(Exception):
    """This transport does not support a part of Faust. The message names the alternative."""

    __module__ = "streams.transport"


class ProduceError(Exception):
    """A record was not acknowledged.

    `retriable` is True if the same record may be accepted later. `rejects_record` is True if the cause is the record
    itself, such as its size: the topic accepts others. `may_be_neighbour` is True if the brokers refused a whole
    request, perhaps because of another record in it.
    """

    __module__ = "streams.transport"

    def __init__(
        self, message: str, *, retriable: bool, rejects_record: bool = False, may_be_neighbour: bool = False
    ) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.rejects_record = rejects_record
        self.may_be_neighbour = may_be_neighbour
