"""Handlers for annotations of apps."""
