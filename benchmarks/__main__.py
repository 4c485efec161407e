"""`python -m benchmarks [NAME ...] [--scale 1]`: results on stdout, a JSON line each; what goes on, on stderr.

Exits with 1 where a target is missed.
"""

import argparse
import importlib
import signal
import sys

from benchmarks.environment import Ground, open_ground, say
from benchmarks.result import Results

SCENARIOS = (
    "indexing-pages",
    "indexing-small",
    "indexing-large",
    "cleaning-dataset",
    "handling",
    "latency",
    "charging",
    "ledger",
    "flat",
    "producing",
    "relay",
)
"""Each is the module of its name, imported when it runs: some need the peers that `make bench` installs."""


def results_of(name: str, ground: Ground, scale: float) -> Results:
    """Run a scenario."""
    module = importlib.import_module(f"benchmarks.scenarios.{name.replace('-', '_')}")
    found: Results = module.run(ground, scale)
    return found


def main() -> int:
    """Run the scenarios that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument("--scale", type=float, default=1.0, help="sizes, as a part of the full ones")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are: {', '.join(SCENARIOS)}")
    # As Ctrl-C: the servers are stopped in the end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    missed = 0
    with open_ground() as ground:
        for name in asked.names or SCENARIOS:
            say(f"--- {name}")
            for result in results_of(name, ground, asked.scale):
                sys.stdout.write(result.line() + "\n")
                sys.stdout.flush()
                missed += result.met is False
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
