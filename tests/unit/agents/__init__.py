"""Unit tests of what the agents share."""
