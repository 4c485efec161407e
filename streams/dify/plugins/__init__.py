"""Plugins of tenants, and their upgrades from the marketplace."""
