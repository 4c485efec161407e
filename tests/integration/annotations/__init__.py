"""Annotations of apps: their index, their jobs, their imports."""
