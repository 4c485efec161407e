"""Measures how the processor time of a function grows with the size of its input."""

import time
from collections.abc import Callable

LINEAR = 9.0
"""Most growth of the time for four times the size. Quadratic time would be sixteen times as much."""
_ROUNDS = 4
_SHORTEST = 0.03
"""Seconds. A shorter time is noise, so it counts as so much."""


def growth(small: Callable[[], object], large: Callable[[], object]) -> float:
    """Return the processor time of `large` divided by that of `small`: the least of some rounds each.

    A round that shows proportional time is the last one.
    """
    least = [float("inf"), float("inf")]
    ratio = least[0]
    for _ in range(_ROUNDS):
        for index, run in enumerate((small, large)):
            least[index] = min(least[index], _seconds(run))
        ratio = least[1] / max(least[0], _SHORTEST)
        if ratio < LINEAR:
            break
    return ratio


def _seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started
