"""Events that ask for a look at the pipeline itself."""

from schemas.event import Event


class QueueCheckRequested(Event):
    """Compare lag, ages, dead letters and missed schedules with their thresholds, and alert."""

    repeat: int = 0
    """How many checks before it, since the last one of the schedule, could not send their notices to the webhook."""


class DeadLetterCheckRequested(Event):
    """Alert about the first dead letter of each handler and error type."""
