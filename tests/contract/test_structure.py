"""The shape of the source tree: small folders, small modules, names that say what lives there."""

import io
import re
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from tests.support.pages import ROOT

MODULES_PER_FOLDER = 12
LINES_PER_MODULE = 300
MANY_MODULES = {"streams/cli", "streams/database/migrations/versions"}
"""One file per command group; one per revision, which stays once a database has run it."""
SAYS_NOTHING = {"base", "common", "helpers", "manager", "misc", "utils"}
FORMER_NAMES = {
    "affected", "allowed_values", "answers", "artifacts", "avro_reading", "avro_writing", "bare", "beside",
    "binding", "blinker_bridge", "breaker", "breaker_rows", "bucket", "cancelling", "celery_bridge", "claims_sql",
    "commits", "crash_guard", "custody", "declared", "demonstration", "detached", "duration", "effect", "failures",
    "fetching", "gate", "handover", "http_registry", "identity", "interview", "limits", "listing", "lock",
    "loop_bridge", "masking", "membership", "observe", "outgoing", "owned", "payloads", "perseverance", "preloaded",
    "preparing",
    "protection", "questions", "reading", "reception", "refusals", "refusing", "registries", "remains", "removal",
    "repeating", "replacing", "reporting", "retry_plan", "sealing", "set_aside", "showing", "signals", "standing",
    "stranded", "sweep", "syncing", "tasks", "topic_admin", "topic_pruning", "transactions", "upkeep", "waiting",
    "withdrawing", "written",
}  # fmt: skip
"""Names that a reader had to be told; migrations keep theirs, since they have been run."""


def _modules(*folders: str) -> list[Path]:
    return [path.relative_to(ROOT) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.requirement(
    "Source tree and packaging", "a folder has at most a dozen modules, but `cli` and the migrations"
)
def test_a_folder_holds_at_most_a_dozen_modules() -> None:
    modules = _modules(
        "streams", "schemas", "tests", "benchmarks", "dashboards", "documentation", "release", "examples"
    )
    folders = Counter(str(path.parent) for path in modules if path.name != "__init__.py")

    assert {
        name: many for name, many in folders.items() if many > MODULES_PER_FOLDER and name not in MANY_MODULES
    } == {}


@pytest.mark.requirement("Source tree and packaging", "a module has at most 300 lines")
def test_a_module_fits_on_a_few_screens() -> None:
    modules = _modules("streams", "schemas", "benchmarks", "dashboards", "documentation", "release")
    lines = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in modules}

    assert {name: many for name, many in lines.items() if many > LINES_PER_MODULE} == {}


@pytest.mark.requirement("Source tree and packaging", "no former name is left")
def test_names_are_those_of_the_field() -> None:
    folders = ("streams", "schemas", "benchmarks", "dashboards", "documentation", "release")
    modules = [path for path in _modules(*folders) if "versions" not in path.parts]

    assert [str(path) for path in modules if {path.stem, *path.parts} & (SAYS_NOTHING | FORMER_NAMES)] == []


@pytest.mark.requirement("Source tree and packaging", "no regular expression that Python before 3.11.5 matches wrongly")
def test_no_regular_expression_has_a_possessive_group() -> None:
    """Python before 3.11.5 matches a group with alternatives in it wrongly: see its issue 106052."""
    possessive = re.compile(r"(?<!\()\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")

    assert [
        f"{path}:{token.start[0]}"
        for path in _modules("streams", "schemas", "benchmarks", "dashboards", "documentation", "release")
        for token in tokenize.tokenize(io.BytesIO((ROOT / path).read_bytes()).readline)
        if token.type == tokenize.STRING and possessive.search(token.string)
    ] == []
