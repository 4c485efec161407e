"""`python -m benchmarks [NAME ...] [--scale 1]`: one JSON line per result on stdout, progress on stderr.

Exits with 1 if a target is missed.
"""

import argparse
import importlib
import signal
import sys

from benchmarks.environment import Servers, say, start_servers
from benchmarks.result import Results

SCENARIOS = (
    "indexing-pages",
    "indexing-small",
    "indexing-large",
    "cleaning-dataset",
    "deleting",
    "handling",
    "tracing",
    "latency",
    "charging",
    "saving-executions",
    "ledger",
    "flat",
    "producing",
    "relay",
)
"""Each name is a module. It is imported when it runs: some need the packages that `make bench` installs."""


def results_of(name: str, servers: Servers, scale: float) -> Results:
    """Run a scenario."""
    module = importlib.import_module(f"benchmarks.scenarios.{name.replace('-', '_')}")
    found: Results = module.run(servers, scale)
    return found


def main() -> int:
    """Run the named scenarios, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the sizes; 1 is full size")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are: {', '.join(SCENARIOS)}")
    # As Ctrl-C: the servers are stopped at the end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    missed = 0
    with start_servers() as servers:
        for name in arguments.names or SCENARIOS:
            say(f"--- {name}")
            for result in results_of(name, servers, arguments.scale):
                sys.stdout.write(result.line() + "\n")
                sys.stdout.flush()
                missed += result.met is False
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
