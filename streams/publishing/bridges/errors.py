"""The error of a bridge."""


class BridgeError(Exception):
    """A bridge cannot start, or cannot build an event from its input. The message is one line."""

    __module__ = "streams.publishing"
