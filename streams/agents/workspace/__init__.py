"""Handlers for tenants, accounts, mails and plugins."""
