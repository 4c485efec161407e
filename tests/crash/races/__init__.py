"""Races that are forced at every step of the work."""
