"""A Flask blueprint for the platform's API: runs pipelines for `pipeline.run-requested`.

The platform has no HTTP door for this. `init_app(app, redis)` adds ``POST /streams/pipeline-runs``. A request is
answered after its runs have ended:

- ``{"state": "done", "runs": 3}``: all runs have succeeded, now or at an earlier request with the same event id;
- ``{"state": "running", "retry_after": 5}``: an earlier request with this event id is under way;
- ``{"state": "failed", "reason": …}``: some runs failed. The next request runs only these again;
- ``{"state": "refused", "reason": …}``: no repeat can succeed.
"""

import hmac
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID, uuid4

from flask import Blueprint, Flask, Response, abort, jsonify, request

from streams.publishing.bridges.errors import BridgeError

log = logging.getLogger(__name__)
PATH = "/streams/pipeline-runs"
LEASE = "streams_pipeline_run:{}"
"""Set while a request runs. It expires soon if the process dies."""
DONE = "streams_pipeline_run_done:{}"
"""The names of the runs that have succeeded."""
ALL = "*"
"""The name in DONE for all runs of the event."""
DONE_SECONDS = 14 * 86_400
LEASE_SECONDS = 60
RETRY_SECONDS = 5
MAX_THREADS = 10
"""The number of runs of one request at the same time, as in the platform's task."""

Runs = Mapping[str, Callable[[], None]]
"""The runs of a request by their names. A name is the same at each request for the same event."""


class Refused(Exception):  # noqa: N818 - reads well: `raise Refused("the file does not exist")`
    """No repeat of the request can succeed."""

    __module__ = "streams.publishing.bridges.pipeline_blueprint"


class Pipelines(Protocol):
    """The platform's side. Both raise Refused for what does not exist or belongs to another tenant."""

    def runs_of_file(self, tenant_id: str, file_id: str) -> Runs:
        """Return the runs that an upload file lists."""

    def retries_of_documents(self, tenant_id: str, dataset_id: str, document_ids: Sequence[str]) -> Runs:
        """Return the runs that try documents again."""


class RedisClient(Protocol):
    """The commands of redis-py's synchronous client that are used. The platform's own `redis_client` has them."""

    def set(self, name: str, value: str, *, nx: bool = False, xx: bool = False, ex: int | None = None) -> object:
        """SET."""

    def get(self, name: str) -> object:
        """GET."""

    def delete(self, *names: str) -> object:
        """DEL."""

    def expire(self, name: str, time: int) -> object:
        """EXPIRE."""

    def sadd(self, name: str, *values: str) -> object:
        """SADD."""

    def smembers(self, name: str) -> object:
        """SMEMBERS."""


class RunRequests:
    """Runs each event's runs once, whatever is repeated, cut off or killed."""

    def __init__(self, pipelines: Pipelines, redis: RedisClient) -> None:
        """Keep the state of events in Redis."""
        self._pipelines = pipelines
        self._redis = redis

    def run(self, body: Mapping[str, object]) -> dict[str, object]:
        """Run what a request names. Return the answer."""
        try:
            event_id, tenant_id = _id(body, "event_id"), _id(body, "tenant_id")
            done = self._done(event_id)
            if ALL in done:
                return {"state": "done", "runs": len(done) - 1}
            with self._lease(event_id) as held:
                if not held:
                    return {"state": "running", "retry_after": RETRY_SECONDS}
                return self._run_all(event_id, self._runs(tenant_id, body))
        except Refused as error:
            return {"state": "refused", "reason": str(error)}

    def _runs(self, tenant_id: str, body: Mapping[str, object]) -> Runs:
        if body.get("file_id") is not None:
            return self._pipelines.runs_of_file(tenant_id, _id(body, "file_id"))
        named = body.get("document_ids")
        documents = [_id({"document_ids": one}, "document_ids") for one in (named if isinstance(named, list) else [])]
        return self._pipelines.retries_of_documents(tenant_id, _id(body, "dataset_id"), documents)

    def _run_all(self, event_id: str, runs: Runs) -> dict[str, object]:
        done = self._done(event_id)
        failed: list[str] = []
        with ThreadPoolExecutor(MAX_THREADS) as threads:
            started = {threads.submit(runs[name]): name for name in runs if name not in done}
            for future in as_completed(started):
                error = future.exception()
                if error is None:
                    self._add_done(event_id, started[future])
                    continue
                log.error("run %s of event %s failed", started[future], event_id, exc_info=error)
                failed.append(type(error).__name__)
        if failed:
            # The texts of the errors may contain personal data. They are in the platform's log.
            return {"state": "failed", "reason": f"{len(failed)} of {len(runs)} runs: {', '.join(sorted(set(failed)))}"}
        self._add_done(event_id, ALL)
        return {"state": "done", "runs": len(runs)}

    def _done(self, event_id: str) -> set[str]:
        names = self._redis.smembers(DONE.format(event_id))
        return {_text(name) for name in names} if isinstance(names, set) else set()

    def _add_done(self, event_id: str, name: str) -> None:
        self._redis.sadd(DONE.format(event_id), name)
        self._redis.expire(DONE.format(event_id), DONE_SECONDS)

    @contextmanager
    def _lease(self, event_id: str) -> Iterator[bool]:
        """Hold the lease of an event and renew it in a thread. Yields False if another request holds it."""
        name, token = LEASE.format(event_id), uuid4().hex
        if not self._redis.set(name, token, nx=True, ex=LEASE_SECONDS):
            yield False
            return
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(name, ended), daemon=True)
        renewing.start()
        try:
            yield True
        finally:
            ended.set()
            renewing.join()
            if _text(self._redis.get(name)) == token:
                self._redis.delete(name)

    def _renew(self, name: str, ended: threading.Event) -> None:
        while not ended.wait(LEASE_SECONDS / 4):
            try:
                self._redis.expire(name, LEASE_SECONDS)
            except Exception:
                log.exception("the lease of a pipeline run is not renewed; the next try is soon")


def _id(body: Mapping[str, object], field: str) -> str:
    try:
        return str(UUID(str(body.get(field))))
    except ValueError as error:
        message = f"{field} is not a UUID"
        raise Refused(message) from error


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def init_app(app: Flask, redis: RedisClient, *, key: str | None, pipelines: Pipelines) -> None:
    """Add the blueprint to the platform's Flask app.

    Args:
        app: The platform's app.
        redis: The platform's `redis_client`.
        key: The key that requests must have: STREAMS_PIPELINE_KEY of the workers.
        pipelines: `PlatformPipelines(app)`.

    Raises:
        BridgeError: There is no key. Without it, everybody could run pipelines.
    """
    if not key:
        message = "the blueprint of pipelines needs a key"
        raise BridgeError(message)
    requests = RunRequests(pipelines, redis)
    blueprint = Blueprint("streams_pipelines", __name__)

    @blueprint.post(PATH)
    def run_pipelines() -> Response:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
            abort(401)
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            abort(400)
        return jsonify(requests.run(body))

    app.register_blueprint(blueprint)
