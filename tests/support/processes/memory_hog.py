"""Leaks memory, as a faulty library does. The module imports nothing, so that nothing else uses memory."""

kept: list[bytearray] = []


def leak(mebibytes: int) -> int:
    """Allocate memory until the process ends. Returns the number of calls so far."""
    kept.append(bytearray(mebibytes << 20))
    return len(kept)
