"""Asks the platform to run a pipeline: HTTP to the blueprint in `streams.publishing.bridges.pipeline_blueprint`."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.dify.errors import ExtractionError, PipelinesAwayError, RefusedError, ServiceError
from streams.dify.http import JSONObject, Service, Timeouts, fetch
from streams.settings import Settings

NAME = "the platform's pipelines"
PATH = "/streams/pipeline-runs"
_LONGEST_PAUSE = 60.0
"""Seconds between two requests while the run is under way, at most."""


@dataclass(frozen=True, slots=True)
class PipelineClient:
    """The blueprint's address and key."""

    url: str
    key: str | None = field(repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)

    async def run(self, event_id: str, request: Mapping[str, object]) -> JSONObject:
        """Run what a request names, and return after the run. A repeat with the same event id runs only what is left.

        If the run is already under way, because an earlier request was cut off, its end is awaited.

        Args:
            event_id: The id of the event.
            request: tenant_id, and file_id or dataset_id with document_ids.

        Raises:
            RefusedError: The platform does not know what the request names.
            BusyError: The platform asks for a pause.
            PipelinesAwayError: It does not answer.
            ServiceError: A run failed, or the key is wrong.
        """
        while True:
            answer = await self._post({"event_id": event_id, **request})
            state = answer.get("state")
            if state == "done":
                return answer
            if state == "running":
                await asyncio.sleep(_seconds(answer.get("retry_after")))
                continue
            reason = str(answer.get("reason", ""))[:300]
            if state == "refused":
                message = f"{NAME} refuse the run: {reason}"
                raise RefusedError(message)
            message = f"{NAME} failed: {reason}" if state == "failed" else f"{NAME} answered with no known state"
            raise ServiceError(message)

    async def _post(self, body: JSONObject) -> JSONObject:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        service = Service(NAME, headers, self.timeouts, PipelinesAwayError)
        try:
            return await fetch(service, "POST", f"{self.url.rstrip('/')}{PATH}", json=body)
        except ExtractionError as error:  # The key or the address is wrong, which can be put right.
            raise ServiceError(str(error)) from error


def _seconds(value: object) -> float:
    return min(float(value), _LONGEST_PAUSE) if isinstance(value, int | float) and value >= 0 else 1.0


def build_pipeline_client(settings: Settings) -> PipelineClient | None:
    """Create the client of the settings; None: STREAMS_PIPELINE_URL is not set."""
    if settings.pipeline_url is None:
        return None
    key = settings.pipeline_key.get_secret_value() if settings.pipeline_key else None
    timeouts = Timeouts(settings.service_connect_timeout, settings.pipeline_request_timeout)
    return PipelineClient(settings.pipeline_url, key, timeouts)
