"""Plugins of tenants, on fake servers of the plugin daemon and the marketplace."""
