"""Handlers for apps, messages and workflows."""
