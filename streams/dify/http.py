"""Requests to the services that documents come from: one way to make them, one meaning of each refusal."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import loads

import httpx

from streams.dify.errors import BusyError, ExtractionError, ServiceError

Thing = dict[str, object]
"""A JSON object."""
MOST_BYTES = 50 * 1024 * 1024
_DEFAULT_WAIT = 30.0
_LONGEST_WAIT = 3600.0
"""Seconds before the next request where a 429 does not say when, and at most, whatever it says."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for a connection, and that the service may be silent."""

    connect: float = 5.0
    request: float = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """Who is asked, by the name that messages give it, and the headers that it wants."""

    name: str
    headers: Mapping[str, str]
    timeouts: Timeouts


async def fetch(
    service: Service, method: str, url: str, *, params: Mapping[str, str] | None = None, json: object = None
) -> Thing:
    """The JSON object that the service answers, read in full.

    Raises BusyError for 429 (with the time of its Retry-After), ExtractionError for other 4xx and for answers that
    are too long, ServiceError for 5xx, redirects, what the network did and what is no JSON object.
    """
    try:
        async with (
            httpx.AsyncClient(
                timeout=httpx.Timeout(service.timeouts.request, connect=service.timeouts.connect)
            ) as client,
            client.stream(method, url, headers=service.headers, params=params, json=json) as response,
        ):
            body = await _bounded(service.name, response)
    except httpx.HTTPError as error:
        message = f"{service.name} does not answer: {str(error) or type(error).__name__}"
        raise ServiceError(message) from error
    except httpx.InvalidURL as error:
        message = f"{url[:200]!r} is not an address: {error}"
        raise ExtractionError(message) from error
    _refuse(service.name, response, body)
    try:
        answer: object = loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        message = f"{service.name} answers what is no JSON object: {body[:100]!r}"
        raise ServiceError(message)
    return answer


def thing(value: object) -> Thing:
    """The value where it is a JSON object, else an empty one: answers are read as far as they hold."""
    return value if isinstance(value, dict) else {}


async def _bounded(name: str, response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            message = f"{name} answers with more than {MOST_BYTES >> 20} MiB"
            raise ExtractionError(message)
    return bytes(body)


def _refuse(name: str, response: httpx.Response, body: bytes) -> None:
    status = response.status_code
    said = f"{name} answers {status}: {' '.join(body[:300].decode(errors='replace').split())}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        wait = retry_after(response.headers.get("Retry-After"))
        raise BusyError(said, _DEFAULT_WAIT if wait is None else min(wait, _LONGEST_WAIT))
    if response.is_client_error:
        raise ExtractionError(said)
    if not response.is_success:
        raise ServiceError(said)


def retry_after(value: str | None) -> float | None:
    """Seconds to wait, from a number of seconds or a date (RFC 9110, 10.2.3); None where there is neither."""
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
