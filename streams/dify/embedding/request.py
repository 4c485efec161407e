"""What the requests of all embedding services share: the client, the limits, and the meaning of each status."""

import httpx

from streams.dify.errors import (
    BusyError,
    ContentRefusedError,
    EmbeddingAwayError,
    EmbeddingError,
    RefusedError,
)
from streams.dify.http import ACCEPTED, retry_after, tls_context

BUSY_SECONDS = 10.0
"""Seconds to wait after a 429 without Retry-After."""
MAX_WAIT = 86400.0
"""The longest wait in seconds that a Retry-After may request."""
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_CONTENT_STATUSES = {httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE, httpx.codes.UNPROCESSABLE_ENTITY}


def open_client(headers: dict[str, str], connect_timeout: float, request_timeout: float) -> httpx.AsyncClient:
    """Return a client for some requests.

    Args:
        headers: The headers of the service.
        connect_timeout: Seconds for a connection.
        request_timeout: Seconds for a whole request.
    """
    timeout = httpx.Timeout(request_timeout, connect=connect_timeout, pool=None)
    return httpx.AsyncClient(verify=tls_context(), headers={**ACCEPTED, **headers}, timeout=timeout)


def failure_of(name: str, response: httpx.Response) -> Exception:
    """Return what the status of a rejected request means."""
    status = response.status_code
    message = f"{name} answered {status}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        after = retry_after(response.headers.get("Retry-After"))
        return BusyError(message, BUSY_SECONDS if after is None else min(after, MAX_WAIT))
    if status in _CONTENT_STATUSES:
        return ContentRefusedError(message)
    if response.is_client_error and status != httpx.codes.REQUEST_TIMEOUT:
        return RefusedError(message)
    away = response.is_server_error or status == httpx.codes.REQUEST_TIMEOUT
    return EmbeddingAwayError(message) if away else EmbeddingError(message)
