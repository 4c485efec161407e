"""Tenants, and what they have connected and set."""
