"""Splits a text into segments."""
