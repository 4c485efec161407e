"""Workflow runs on the real database."""
