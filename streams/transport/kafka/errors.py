"""What can go wrong with Kafka, each said in one line."""


class StartError(Exception):
    """The worker cannot start; the message is one line that says what is wrong and what to do."""

    __module__ = "streams.transport"


class BrokersUnreachableError(StartError):
    """No broker answered; the message names the addresses and the setting they came from."""

    __module__ = "streams.transport"


class TransportError(Exception):
    """Kafka cannot be consumed or produced to any more in this process: it ends, and another takes over."""

    __module__ = "streams.transport"


class NotSupportedError(Exception):
    """A part of Faust that this transport leaves out; the message says what to use instead."""

    __module__ = "streams.transport"


class ProduceError(Exception):
    """A record was not acknowledged. `retriable`: the same record may be accepted later."""

    __module__ = "streams.transport"

    def __init__(self, message: str, *, retriable: bool) -> None:
        super().__init__(message)
        self.retriable = retriable
