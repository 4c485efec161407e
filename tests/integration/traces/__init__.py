"""Traces of apps, sent to tracing services."""
