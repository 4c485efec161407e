"""Unit tests of what `streams topics` plans and applies."""
