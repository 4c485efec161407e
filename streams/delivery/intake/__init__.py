"""Turns chunks of records into deliveries: loads what a record needs, then decodes it."""
