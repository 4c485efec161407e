"""Cleans up after a deleted document or dataset."""
