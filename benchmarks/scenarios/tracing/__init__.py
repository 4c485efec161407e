"""The cost of traces: a single handler that does nothing, with an exporter of 1 % of the traces, and without one."""

from benchmarks.scenarios.tracing.single_handler import run

__all__ = ["run"]
