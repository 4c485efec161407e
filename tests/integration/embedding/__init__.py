"""Tests of the embedding models of tenants, on a real database."""
