"""Secrets of tenants."""
