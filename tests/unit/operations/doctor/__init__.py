"""Unit tests of `streams doctor`."""
