"""Workflows, their runs and their variables."""
