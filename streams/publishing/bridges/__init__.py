"""Bridges from the platform's Blinker signals and Celery tasks to events."""
