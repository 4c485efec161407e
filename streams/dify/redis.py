"""The platform's Redis: a single server or Sentinel, each with or without TLS.

``redis://host:6379/0``; ``rediss://…`` with TLS and redis-py's query parameters such as ``ssl_ca_certs``; or
``redis+sentinel://user:password@host:26379,host:26379/NAME/0``. NAME is the name of the master. The password is the
password of the Redis servers. ``rediss+sentinel://…`` uses TLS to the sentinels and to the Redis servers, with the same
query parameters for both.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import signature
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from streams.dify.errors import RedisAwayError
from streams.observability.error_text import message
from streams.settings import Settings, SettingsError

SENTINEL = "redis+sentinel://"
SENTINEL_TLS = "rediss+sentinel://"
SENTINEL_PORT = 26379
_TLS_PARAMETERS = frozenset(name for name in signature(SSLConnection).parameters if name.startswith("ssl_"))


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """The sentinels, and the name of the master."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    database: int
    username: str | None
    password: str | None
    tls: Mapping[str, object] = field(default_factory=dict)
    """redis-py's arguments for TLS, for the sentinels and the Redis servers. Empty: without TLS."""


class RedisClients:
    """The clients of one Redis, one per event loop. A client is created at its first use."""

    def __init__(self, open_client: Callable[[], Redis]) -> None:
        """`open_client` creates a client."""
        self._open_client = open_client
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()

    def current(self) -> Redis:
        """Return the client of the running event loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._open_client()
        return client


@asynccontextmanager
async def answer_within(seconds: float) -> AsyncIterator[None]:
    """Limit the calls in the block, including the connection. Raises RedisAwayError if Redis does not answer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        text = f"Redis does not answer: {message(error) or type(error).__name__}"
        raise RedisAwayError(text) from error


def redis_opener(settings: Settings) -> Callable[[], Redis]:
    """Return a function that creates a client of STREAMS_REDIS_URL. The client connects at its first use.

    Raises SettingsError for an invalid URL.
    """
    url = settings.redis_url.get_secret_value()
    connect, request = settings.redis_connect_timeout, settings.redis_request_timeout
    if url.startswith((SENTINEL, SENTINEL_TLS)):
        address = sentinel_address(url)

        def follow() -> Redis:
            """Create a client that asks the sentinels for the master at each new connection."""
            sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no types for it
                list(address.hosts),
                sentinel_kwargs={
                    **address.tls,
                    "socket_connect_timeout": connect,
                    "socket_timeout": request,
                    "retry": _once(),
                },
            )
            client: Redis = sentinel.master_for(
                address.master,
                **address.tls,  # type: ignore[arg-type]  # redis-py's arguments, checked above
                db=address.database,
                username=address.username,
                password=address.password,
                socket_connect_timeout=connect,
                socket_timeout=request,
                retry=_once(),
            )
            return client

        return follow
    try:
        Redis.from_url(url)
    except (ValueError, RedisError):  # the errors repeat parts of the URL
        text = (
            "STREAMS_REDIS_URL: this is not a URL of Redis; write redis://user:password@host:port/0, with "
            "percent-encoded characters where the password has one of / # ? @, or "
            f"rediss://…, {SENTINEL}… or {SENTINEL_TLS}…"
        )
        raise SettingsError(text) from None
    return lambda: Redis.from_url(url, socket_connect_timeout=connect, socket_timeout=request, retry=_once())


def _once() -> Retry:
    """Return a policy without retries. redis-py's retries would wait for seconds that the caller does not know of."""
    return Retry(NoBackoff(), 0)


def sentinel_address(url: str) -> SentinelAddress:
    """Parse a URL of sentinels. Raises SettingsError that shows the expected form."""
    is_tls = url.startswith(SENTINEL_TLS)
    scheme, query = SENTINEL, ""
    if is_tls:
        scheme = SENTINEL_TLS
        url, _, query = url.partition("?")
    place, _, rest = url.removeprefix(scheme).partition("/")
    credentials, _, hosts = place.rpartition("@")
    master, _, database = rest.partition("/")
    username, _, password = credentials.partition(":")
    try:
        found = tuple(_host(one) for one in hosts.split(","))
        number = int(database or 0)
    except ValueError:
        found, number = (), 0
    if not found or not master:
        text = f"STREAMS_REDIS_URL: write {scheme}host:port,host:port/NAME/0, NAME is the sentinels' name of the master"
        raise SettingsError(text)
    tls = _tls_arguments(query) if is_tls else {}
    return SentinelAddress(found, unquote(master), number, unquote(username) or None, unquote(password) or None, tls)


def _tls_arguments(query: str) -> dict[str, object]:
    """Return redis-py's arguments for TLS from a URL's query. Raises SettingsError."""
    names = {part.partition("=")[0] for part in query.split("&") if part}
    try:
        given: dict[str, object] = {**parse_url(f"rediss://host?{query}")}
    except ValueError:  # the error repeats the value
        given = {}
    arguments = {name: value for name, value in given.items() if name in _TLS_PARAMETERS}
    if names != set(arguments):
        text = (
            f"STREAMS_REDIS_URL: the parameters of {SENTINEL_TLS}…?… are redis-py's for TLS, such as ssl_ca_certs, "
            "ssl_certfile and ssl_keyfile, each with a valid value"
        )
        raise SettingsError(text)
    return {"ssl": True, **arguments}


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    if not host:
        raise ValueError(text)
    return host, int(port or SENTINEL_PORT)
