"""HTTP requests to the services that documents come from. Every response status has one meaning here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import loads

import httpx

from streams.dify.errors import BusyError, ExtractionError, ServiceError

JSONObject = dict[str, object]
"""A JSON object."""
MAX_BYTES = 50 * 1024 * 1024
_DEFAULT_WAIT = 30.0
_MAX_WAIT = 3600.0
"""Seconds to wait after a 429 response without Retry-After, and the longest wait that a Retry-After may request."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits in seconds: for opening a connection, and for a pause in the response."""

    connect: float = 5.0
    request: float = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """A service: its name in messages, and the headers that it needs."""

    name: str
    headers: Mapping[str, str]
    timeouts: Timeouts


async def fetch(
    service: Service, method: str, url: str, *, params: Mapping[str, str] | None = None, json: object = None
) -> JSONObject:
    """Send a request and return the JSON object of the response.

    Raises:
        BusyError: the status is 429; carries the time of Retry-After.
        ExtractionError: the status is another 4xx, or the response is too long.
        ServiceError: the status is 5xx or a redirect, the network failed, or the body is not a JSON object.
    """
    try:
        async with (
            httpx.AsyncClient(
                timeout=httpx.Timeout(service.timeouts.request, connect=service.timeouts.connect)
            ) as client,
            client.stream(method, url, headers=service.headers, params=params, json=json) as response,
        ):
            body = await _read_bounded(service.name, response)
    except httpx.HTTPError as error:
        message = f"{service.name} does not answer: {str(error) or type(error).__name__}"
        raise ServiceError(message) from error
    except httpx.InvalidURL as error:
        message = f"{url[:200]!r} is not an address: {error}"
        raise ExtractionError(message) from error
    _raise_for_status(service.name, response, body)
    try:
        answer: object = loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        message = f"{service.name} answers with something that is not a JSON object: {body[:100]!r}"
        raise ServiceError(message)
    return answer


def as_object(value: object) -> JSONObject:
    """Return the value if it is a JSON object, else an empty one. Unexpected parts of a response count as missing."""
    return value if isinstance(value, dict) else {}


async def _read_bounded(name: str, response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BYTES:
            message = f"{name} answers with more than {MAX_BYTES >> 20} MiB"
            raise ExtractionError(message)
    return bytes(body)


def _raise_for_status(name: str, response: httpx.Response, body: bytes) -> None:
    status = response.status_code
    message = f"{name} answers {status}: {' '.join(body[:300].decode(errors='replace').split())}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        wait = retry_after(response.headers.get("Retry-After"))
        raise BusyError(message, _DEFAULT_WAIT if wait is None else min(wait, _MAX_WAIT))
    if response.is_client_error:
        raise ExtractionError(message)
    if not response.is_success:
        raise ServiceError(message)


def retry_after(value: str | None) -> float | None:
    """Return the seconds to wait, from a number of seconds or a date (RFC 9110, 10.2.3); None if it is neither."""
    if value is None:
        return None
    try:
        return max(float(int(value)), 0.0)
    except OverflowError:
        return None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(tz=UTC)).total_seconds(), 0.0)
