"""Unit tests of the embedding models."""
