"""Free ports on 127.0.0.1, remembered so that addresses survive `down` and `up`."""

import random
import socket
from collections.abc import Iterable, Iterator

HOST = "127.0.0.1"
# Below Linux's range for outgoing connections (from 32768), so that none of them takes a remembered port meanwhile.
_CANDIDATES = range(20_000, 32_000)


class NoPortError(Exception):
    """No port is free."""


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do it: connections that just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            # Two sockets may be bound with SO_REUSEADDR; only one may listen.
            probe.listen(1)
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def settle_ports(remembered: dict[str, int], names: Iterable[str]) -> dict[str, int]:
    """Every name's port: the remembered one where it is free, else a new one. Others are kept as they are."""
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
