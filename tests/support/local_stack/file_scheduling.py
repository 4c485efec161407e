"""Which tests one process of a run gets: those of a file, and those of all files that break servers."""

import re
from functools import cache

from xdist.scheduler import LoadFileScheduling

from tests.support.processes.worker_process import ROOT

_BREAKS_SERVERS = re.compile(r"\bbreakable_stack\b|\blocal_stack\.breakable\b")


class FilesOfOneStack(LoadFileScheduling):  # type: ignore[misc] # xdist carries no types
    """The scheduling of `--dist loadfile`, with one process for all files that use the breakable servers.

    Each process with such a test would start servers of its own.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "files that break servers" if _breaks_servers(file) else file


@cache
def _breaks_servers(file: str) -> bool:
    return _BREAKS_SERVERS.search((ROOT / file).read_text()) is not None
