"""Fakes of vector stores."""
