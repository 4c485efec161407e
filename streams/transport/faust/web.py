"""The web server of a worker: Faust's, with limits for connections, and without Faust's own pages."""

import asyncio

from faust.types import AppT
from faust.web.drivers import aiohttp as faust_web

from streams.observability.connection_limits import (
    BACKLOG,
    CONNECTION_SECONDS,
    ConnectionLimits,
    close_after_response,
    connection_limit,
)


class StreamsWeb(faust_web.Web):
    """Faust's web server without its pages `/`, `/router/` and `/table/`, which show what nobody needs."""

    default_blueprints = ()
    production_blueprints = ()
    debug_blueprints = ()
    optional_blueprints = ()

    def __init__(self, app: AppT, **options: object) -> None:
        super().__init__(app, **options)
        self.web_app.middlewares.append(close_after_response)
        self._server: asyncio.Server | None = None

    async def start_server(self) -> None:
        """Listen on the web address."""
        await self._runner.setup()
        handlers = self._runner.server
        assert handlers is not None  # noqa: S101 - `setup` has created it
        conf = self.app.conf
        connections = ConnectionLimits(handlers, connection_limit(), CONNECTION_SECONDS)
        self._server = await asyncio.get_running_loop().create_server(
            connections, conf.web_bind, conf.web_port, ssl=conf.web_ssl_context, backlog=BACKLOG
        )

    async def stop_server(self) -> None:
        """Stop listening, and finish the requests."""
        if self._server is not None:
            self._server.close()
        await super().stop_server()
