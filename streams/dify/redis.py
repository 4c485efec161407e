"""The platform's Redis: a single server, with or without TLS, or Sentinel.

``redis://host:6379/0``; ``rediss://…`` with TLS and redis-py's query parameters such as ``ssl_ca_certs``; or
``redis+sentinel://user:password@host:26379,host:26379/NAME/0``. NAME is the name of the master. The password is the
password of the Redis servers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from streams.settings import Settings, SettingsError

SENTINEL = "redis+sentinel://"
SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """The sentinels, and the name of the master."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    database: int
    username: str | None
    password: str | None


def redis_opener(settings: Settings) -> Callable[[], Redis]:
    """Return a function that creates a client of STREAMS_REDIS_URL. The client connects at its first use.

    Raises SettingsError for an invalid URL.
    """
    url = settings.redis_url.get_secret_value()
    connect, request = settings.redis_connect_timeout, settings.redis_request_timeout
    if url.startswith(SENTINEL):
        address = sentinel_address(url)

        def follow() -> Redis:
            """Create a client that asks the sentinels for the master at each new connection."""
            sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py has no types for it
                list(address.hosts),
                sentinel_kwargs={"socket_connect_timeout": connect, "socket_timeout": request, "retry": _once()},
            )
            client: Redis = sentinel.master_for(
                address.master,
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
        message = (
            "STREAMS_REDIS_URL: this is not a URL of Redis; write redis://user:password@host:port/0, with "
            f"percent-encoded characters where the password has one of / # ? @, or rediss://… or {SENTINEL}…"
        )
        raise SettingsError(message) from None
    return lambda: Redis.from_url(url, socket_connect_timeout=connect, socket_timeout=request, retry=_once())


def _once() -> Retry:
    """Return a policy without retries. redis-py's retries would wait for seconds that the caller does not know of."""
    return Retry(NoBackoff(), 0)


def sentinel_address(url: str) -> SentinelAddress:
    """Parse a ``redis+sentinel://`` URL. Raises SettingsError that shows the expected form."""
    place, _, rest = url.removeprefix(SENTINEL).partition("/")
    credentials, _, hosts = place.rpartition("@")
    master, _, database = rest.partition("/")
    username, _, password = credentials.partition(":")
    try:
        found = tuple(_host(one) for one in hosts.split(","))
        number = int(database or 0)
    except ValueError:
        found, number = (), 0
    if not found or not master:
        message = (
            f"STREAMS_REDIS_URL: write {SENTINEL}host:port,host:port/NAME/0, NAME is the sentinels' name of the master"
        )
        raise SettingsError(message)
    return SentinelAddress(found, unquote(master), number, unquote(username) or None, unquote(password) or None)


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    if not host:
        raise ValueError(text)
    return host, int(port or SENTINEL_PORT)
