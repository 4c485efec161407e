"""Traces of what apps did, for external tracing services."""
