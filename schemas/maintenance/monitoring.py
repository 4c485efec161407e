"""Events that ask for a look at the pipeline itself."""

from schemas.event import Event


class QueueCheckRequested(Event):
    """Compare lag, ages, dead letters and missed schedules with their thresholds, and alert."""


class DeadLetterCheckRequested(Event):
    """Alert about the first dead letter of each handler and error type."""
