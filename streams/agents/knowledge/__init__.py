"""Handlers for datasets, documents and segments."""
