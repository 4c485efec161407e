"""Finds free ports on 127.0.0.1. They are stored, so that addresses stay the same after `down` and `up`."""

import random
import socket
from collections.abc import Iterable, Iterator

HOST = "127.0.0.1"
# Below Linux's range of ephemeral ports (from 32768), so that no outgoing connection takes a stored port.
_CANDIDATES = range(20_000, 32_000)


class NoPortError(Exception):
    """No port is free."""


def is_free(port: int) -> bool:
    """Return whether a server can listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that just ended do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            # With SO_REUSEADDR two sockets may bind the port, but only one may listen.
            probe.listen(1)
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """Return whether a server listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def allocate_ports(remembered: dict[str, int], names: Iterable[str]) -> dict[str, int]:
    """Return a port for every name: the stored one if it is free, else a new one. Other ports are kept."""
    ports = dict(remembered)
    fresh = _fresh(set(ports.values()))
    for name in names:
        if name not in ports or not is_free(ports[name]):
            ports[name] = next(fresh)
    return ports


def _fresh(taken: set[int]) -> Iterator[int]:
    for port in random.sample(_CANDIDATES, len(_CANDIDATES)):
        if port not in taken and is_free(port):
            yield port
    raise NoPortError(f"no port from {_CANDIDATES.start} to {_CANDIDATES.stop - 1} is free on {HOST}")
