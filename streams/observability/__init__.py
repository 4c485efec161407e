"""Logs, metrics, traces, error texts: the bottom, used by all."""
