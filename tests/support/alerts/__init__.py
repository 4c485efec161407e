"""Checks of the pipeline itself, run directly."""
