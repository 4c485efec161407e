"""The Faust app of a worker process: Faust starts and stops the pipeline's `Worker` with it."""

import logging
import sys
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

    def on_worker_shutdown(self) -> None:
        """Mark the app as crashed if an exception has ended the event loop, such as SystemExit of a callback.

        Faust would stop in order and drain, and the crash-loop guard would take that for a clean end.
        """
        error, app = sys.exc_info()[1], cast("PipelineApp", self.app)
        if error is not None and app.worker.engines and not app.crashed:
            self.loop.run_until_complete(app.crash(error))
        super().on_worker_shutdown()


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
        with self.refused_start():
            await self.worker.start()

    async def on_stop(self) -> None:
        """Stop the delivery engines after the consumers have drained."""
        await super().on_stop()
        await self.worker.stop(clean=not self.crashed)
