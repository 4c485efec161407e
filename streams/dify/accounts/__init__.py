"""Accounts, and the services that keep data about them."""
