"""Deletion of a million old messages and cached embeddings, and of workflow runs, compared with the platform's way."""

from benchmarks.scenarios.deleting.compare import run

__all__ = ["run"]
