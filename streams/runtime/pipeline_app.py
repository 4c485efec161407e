"""The Faust app of a worker process: Faust starts and stops the pipeline's `Worker` with it."""

import logging
from typing import cast

import faust

from streams.runtime.worker import Worker
from streams.transport.faust.app import StreamsApp
from streams.transport.faust.consumer import Consumer


class PipelineWorker(faust.Worker):
    """Faust's process without its spinner, which would suppress log lines below WARNING."""

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:  # noqa: ARG002 - Faust's signature
        """Leave the root logger as `logging_config` has set it up."""
        self.spinner = None


class PipelineApp(StreamsApp):
    """The Faust app with its worker: started before the agents, drained by the transport, stopped after it."""

    worker: Worker

    @property
    def group_consumer(self) -> Consumer:
        """The transport's consumer, which knows assignments and lag."""
        return cast("Consumer", self.consumer)

    async def on_start(self) -> None:
        """Open the resources of the delivery engines before the first chunk arrives."""
        await super().on_start()
        await self.worker.start()

    async def on_stop(self) -> None:
        """Stop the delivery engines after the consumers have drained."""
        await super().on_stop()
        await self.worker.stop(clean=not self.crashed)
