"""`python -m tests.contract.golden`: makes the golden bytes that are missing."""

import sys

from schemas.registry import FileRegistry
from tests.contract.golden import make_missing

for path in make_missing(FileRegistry()):
    sys.stdout.write(f"{path}\n")
