"""Schedules: which event is published when. A timer of every worker claims the slots that are due."""

from streams.schedules.schedule import Schedule, ScheduleError
from streams.schedules.steps import continue_run

__all__ = ["Schedule", "ScheduleError", "continue_run"]
