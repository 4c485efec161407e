"""Deletes old data of the platform step by step: the embedding cache, messages, workflow runs, unused indexes."""
