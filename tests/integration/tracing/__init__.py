"""Traces of the pipeline itself."""
