"""Unit tests of the storage."""
