"""Deletion of a million old messages and of a million old cached embeddings, compared with the platform's way."""

from benchmarks.scenarios.deleting.compare import run

__all__ = ["run"]
