"""Decides which delivery runs next, and when: lanes, retry tiers, delay queue."""
