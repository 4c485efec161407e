"""The errors of the producers."""


class PublishError(Exception):
    """An event was not acknowledged. The message is one line. `acknowledged` counts the events that were."""

    __module__ = "streams.publishing"

    def __init__(self, message: str, acknowledged: int = 0) -> None:
        super().__init__(message)
        self.acknowledged = acknowledged


class BadEventError(PublishError):
    """An event could not be encoded. It was not sent."""

    __module__ = "streams.publishing"
