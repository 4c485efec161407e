"""CPU-bound code in confined processes that can be killed: `await work.compute(function, *args)`."""

from streams.delivery.process_pool.pool import TASKS_PER_PROCESS, ComputePool

__all__ = ["TASKS_PER_PROCESS", "ComputePool"]
