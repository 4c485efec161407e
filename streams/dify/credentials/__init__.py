"""Secrets that the platform stores encrypted with the key of a tenant."""
