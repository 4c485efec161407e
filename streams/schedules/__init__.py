"""Schedules: which event is published when. A timer of every worker claims the slots that are due."""
