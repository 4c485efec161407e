"""Handlers of the events that schedules publish."""
