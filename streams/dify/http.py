"""HTTP requests to the services that documents come from. Every response status has one meaning here.

The messages of errors are for the owner of a document: without hosts and without bodies of answers. Those are logged.
"""

import asyncio
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from json import loads

import httpx

from streams.dify.errors import BusyError, ExtractionError, ServiceError, UnavailableError
from streams.observability.logs import get_logger

log = get_logger(__name__)

JSONObject = dict[str, object]
"""A JSON object."""
Query = Mapping[str, str | Sequence[str]]
"""The query of a URL. Several values: the name is repeated."""
MAX_BYTES = 50 * 1024 * 1024
MAX_ANSWER_BYTES = 1024 * 1024
"""The longest answer of a service that only confirms."""
ACCEPTED = {"Accept-Encoding": "gzip"}
"""The header of requests whose answer `read_body` reads."""
_PATH_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_GZIP = 16 + zlib.MAX_WBITS
_SHOWN = 300
"""Characters of an answer in the log."""
_MEANINGS = {
    400: "it rejects the request",
    401: "it rejects the key",
    402: "it wants to be paid",
    403: "access is not allowed, or the page is not shared with the integration",
    404: "it does not know the page",
    429: "too many requests",
}
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
    away: type[ServiceError] = ServiceError
    """The error if it does not answer, or answers with a server error."""
    private: bool = False
    """True: its answers may repeat personal data of a request. They are not logged."""
    auth: httpx.Auth | None = None
    """How requests are signed, where a header is not enough."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and the body of a response that is neither 408, 429 nor 5xx."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return httpx.codes.is_success(self.status)

    @property
    def shown(self) -> str:
        """The beginning of the body in one line, for errors."""
        return _beginning(self.body)


class AnswerError(ValueError):
    """An answer is too long, or in an encoding that was not asked for."""

    __module__ = "streams.dify.http"


async def fetch(
    service: Service, method: str, url: str, *, params: Query | None = None, json: object = None
) -> JSONObject:
    """Send a request and return the JSON object of the response.

    Raises:
        BusyError: the status is 429; carries the time of Retry-After.
        ExtractionError: the status is another 4xx, or the response is too long.
        ServiceError: the status is a redirect, or the body is not a JSON object.
        service.away: the status is 5xx, or the network failed.
    """
    try:
        async with _response(service, method, url, params=params, json=json) as response:
            body = await read_body(response, MAX_BYTES)
    except httpx.HTTPError as error:
        log.warning("a service does not answer", service=service.name, error=str(error) or repr(error))
        message = f"{service.name} does not answer: {type(error).__name__}"
        raise service.away(message) from error
    except httpx.InvalidURL as error:
        message = f"the address for {service.name} is not one"
        raise ExtractionError(message) from error
    except AnswerError as error:
        message = f"{service.name} {error}"
        raise ExtractionError(message) from error
    _raise_for_status(service, response, body)
    try:
        answer: object = loads(body)
    except ValueError:
        answer = None
    except RecursionError as error:
        message = f"{service.name} answers with JSON that is nested too deeply"
        raise ExtractionError(message) from error
    if not isinstance(answer, dict):
        log.warning("a service answers with no JSON object", service=service.name, body=_shown(service, body))
        message = f"{service.name} answers with something that is not a JSON object"
        raise ServiceError(message)
    return answer


async def send(  # noqa: PLR0913 - a request and what its failure means
    service: Service,
    method: str,
    url: str,
    *,
    away: type[UnavailableError],
    params: Query | None = None,
    json: object = None,
) -> Answer:
    """Send a request whose answer the caller judges by its status.

    Args:
        service: Whom to ask. Its `request` time-out is for the whole request.
        method: The HTTP method.
        url: The address.
        away: The error of an unavailable service.
        params: The query.
        json: The body.

    Raises:
        BusyError: The status is 429; carries the time of Retry-After.
        UnavailableError: As `away`: the status is 408 or 5xx, the network failed, or the answer is too long.
    """
    try:
        async with (
            asyncio.timeout(service.timeouts.request),
            _response(service, method, url, params=params, json=json) as response,
        ):
            body = await read_body(response, MAX_ANSWER_BYTES)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, AnswerError) as error:
        log.warning("a service does not answer", service=service.name, error=str(error) or repr(error))
        message = f"{service.name} does not answer: {type(error).__name__}"
        raise away(message) from error
    _raise_if_busy(service, response)
    status = response.status_code
    if response.is_server_error or status == httpx.codes.REQUEST_TIMEOUT:
        message = f"{service.name} answers {status}: {_shown(service, body)}"
        raise away(message)
    return Answer(status, body)


@asynccontextmanager
async def _response(
    service: Service, method: str, url: str, *, params: Query | None, json: object
) -> AsyncIterator[httpx.Response]:
    """Send a request and yield its response, whose body is not read yet."""
    timeout = httpx.Timeout(service.timeouts.request, connect=service.timeouts.connect)
    headers = {**service.headers, **ACCEPTED}
    query = None if params is None else {name: v if isinstance(v, str) else list(v) for name, v in params.items()}
    async with (
        httpx.AsyncClient(verify=tls_context(), timeout=timeout, auth=service.auth) as client,
        client.stream(method, url, headers=headers, params=query, json=json) as response,
    ):
        yield response


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return the certificates that services are checked by. To load them for each request would cost more than it."""
    return httpx.create_ssl_context()


def as_object(value: object) -> JSONObject:
    """Return the value if it is a JSON object, else an empty one. Unexpected parts of a response count as missing."""
    return value if isinstance(value, dict) else {}


def is_path_name(value: str) -> bool:
    """Return whether an id may be a part of a path. Dots or slashes would lead to other pages of the service."""
    return _PATH_NAME.fullmatch(value) is not None


async def read_body(response: httpx.Response, limit: int) -> bytes:
    """Read an answer of at most `limit` bytes, also after it is unpacked: some kB may become gigabytes.

    Raises AnswerError.
    """
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            raise AnswerError(_too_long(limit))
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    return bytes(body) if encoding in {"", "identity"} else _unpacked(bytes(body), encoding, limit)


def _unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding not in {"gzip", "x-gzip"}:
        message = f"answers in the encoding {encoding[:40]!r}, which was not asked for"
        raise AnswerError(message)
    unpacker = zlib.decompressobj(_GZIP)
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        message = "answers with damaged gzip data"
        raise AnswerError(message) from error
    if len(unpacked) > limit:
        raise AnswerError(_too_long(limit))
    return unpacked


def _too_long(limit: int) -> str:
    return f"answers with more than {limit >> 20} MiB"


def _shown(service: Service, body: bytes) -> str:
    return f"{len(body)} bytes" if service.private else _beginning(body)


def _beginning(body: bytes) -> str:
    return " ".join(body[:_SHOWN].decode(errors="replace").split())


def _raise_if_busy(service: Service, response: httpx.Response) -> None:
    """Raise BusyError if the service asks for a pause."""
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        wait = retry_after(response.headers.get("Retry-After"))
        message = f"{service.name} answers 429: {_MEANINGS[429]}"
        raise BusyError(message, _DEFAULT_WAIT if wait is None else min(wait, _MAX_WAIT))


def _raise_for_status(service: Service, response: httpx.Response, body: bytes) -> None:
    status, name = response.status_code, service.name
    if response.is_success:
        return
    log.warning("a service rejects a request", service=name, status=status, body=_shown(service, body))
    _raise_if_busy(service, response)
    message = f"{name} answers {status}: {_MEANINGS.get(status, 'it has failed')}"
    if response.is_client_error:
        raise ExtractionError(message)
    raise (service.away if response.is_server_error else ServiceError)(message)


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
