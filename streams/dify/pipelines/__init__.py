"""Runs of the platform's pipelines, which the platform itself does on request."""
