"""Vectors of texts: a local model, an HTTP endpoint, the cache."""
