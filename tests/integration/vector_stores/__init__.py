"""Tests of the vector stores against a real PostgreSQL, and each store that a test can start."""
