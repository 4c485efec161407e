"""What a library that leaks does; a module of its own that imports nothing, so that nothing else takes memory."""

kept: list[bytearray] = []


def leak(mebibytes: int) -> int:
    """Keep so much until the process ends; how many times it did."""
    kept.append(bytearray(mebibytes << 20))
    return len(kept)
