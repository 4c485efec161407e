"""Mails to people: their texts, and the services that send them."""
