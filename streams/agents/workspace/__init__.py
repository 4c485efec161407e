"""Handlers of tenants, accounts, mails and plugins."""
