"""Embeds texts: a local model, an HTTP endpoint, and the cache."""
