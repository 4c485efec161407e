"""Addresses of web pages: which of them a crawler is asked for, and which the pipeline requests itself."""

import asyncio
import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from streams.dify.errors import RefusedError

_MAX_LENGTH = 4096
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_PRIVATE_SUFFIXES = (".corp", ".home", ".home.arpa", ".internal", ".intranet", ".lan", ".local", ".localhost")
_SETTING = "STREAMS_SOURCE_PRIVATE_ADDRESSES"


def check_page_address(url: str, *, private: bool) -> None:
    """Raise RefusedError unless this is the address of a page that others may see.

    A crawler of the deployment's own would otherwise read the deployment's network for whoever adds a document.

    Args:
        url: The address.
        private: Whether private addresses are allowed (STREAMS_SOURCE_PRIVATE_ADDRESSES).
    """
    parts = _parts(url)
    if not private and is_private_host(parts.hostname or ""):
        message = f"{url[:200]!r} is a private address; {_SETTING} allows them"
        raise RefusedError(message)


async def check_own_request(url: str, service: str, *, private: bool, what: str = "the result of the crawl is") -> None:
    """Raise RefusedError unless the pipeline may request this address, which a service or a tenant has named.

    Args:
        url: The address.
        service: The configured address of the service. Its own scheme, host and port are always allowed.
        private: Whether private addresses are allowed.
        what: What is at the address, for the message.
    """
    parts, own = _parts(url), urlsplit(service)
    if private or (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
        return
    host = parts.hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    if is_private_host(host) or any(is_private_host(str(address[0])) for *_, address in found):
        message = f"{what} at a private address; {_SETTING} allows them"
        raise RefusedError(message)


def is_private_host(host: str) -> bool:
    """Return whether a host is not reachable for everyone, as far as its name or its number says."""
    name = host.lower().rstrip(".")
    address = _address(name.partition("%")[0])
    if address is None:
        return "." not in name or name.endswith(_PRIVATE_SUFFIXES)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return not (mapped or address).is_global


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or len(url) > _MAX_LENGTH or _FORBIDDEN.search(url):
        message = f"{url[:200]!r} is not the address of a web page"
        raise RefusedError(message)
    if "@" in parts.netloc:
        message = "the address of a web page may not contain a user name"
        raise RefusedError(message)
    return parts


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the number that a host is, in every form that a browser takes: 127.1, 0x7f000001, 2130706433."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None
