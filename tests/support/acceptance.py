"""The acceptance page, generated from the markers of the tests: `python -m tests.support.acceptance` writes it.

A test names what it shows: `@pytest.mark.requirement("Delivery", "retries at their time, never early")`. What only a
command shows stands in `COMMANDS`. Markers are read from the source, so no test module is imported.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "acceptance.md"
MARKER = "requirement"
HEAD = """\
# Acceptance

What this version does, and what shows it: a test or a command. This page is generated from the markers of the tests
(`python -m tests.support.acceptance`). A run fails if a test named here was skipped.
"""
SECTIONS: dict[str, str] = {
    "A new user's two commands": "",
    "The local stack": "",
    "Schemas": "",
    "Transport": "",
    "Delivery": "",
    "The work on the platform's tables": "",
    "Extraction": "",
    "Pause, resume, retry, duplicates": "",
    "Races": (
        "The four kinds of documents (text, child chunks, keywords, images) are spread over `make "
        "test` and `make crash`."
    ),
    "Speed and size": "Measured by `make bench`; the figures are in [performance.md](explanation/performance.md).",
    "Commands": "",
    "The demo": "",
    "Logs and metrics": "",
    "Traces": "",
    "Sentry": "",
    "Metrics": "",
    "Dashboards and alerts": "",
    "Logs": "",
    "Bad input": "",
    "Clean, rules, split, forms": "",
    "Embedding and loading": "",
    "Clean-up": "",
    "Schedules": "",
    "Events for later": "",
    "The example service": "",
    "Bridges": "",
    "Schema evolution": "",
    "Publishing": "",
    "Personal data": "",
    "Large events": "",
    "Faults and operations": "",
    "Faults of others": (
        "What peers' bug reports, two reviews and a real deployment showed. c: reports of peers; R: the review for "
        "loss, doubling and stalls; H, M, L: the security review by severity; S: a real database of the platform."
    ),
    "The whole domain": "Every event, handler and task of the platform's event and task integration.",
    "Source tree and packaging": "",
    "Output of commands": "",
    "Containers": "",
    "Kubernetes": "",
    "Development": "",
}
"""Sections in the order of the page, each with a line on top or without."""
COMMANDS: dict[tuple[str, str], str] = {
    ("A new user's two commands", "`make demo` on a machine with Python ≥ 3.11 and nothing else"): "`make demo`",
    (
        "A new user's two commands",
        "`make test` sets up and passes the tests",
    ): "`make test`, which `.ci/run` calls after `make check`",
    (
        "Speed and size",
        (
            "events that do nothing, and charging, beside stock Faust, FastStream, a raw loop, SQL "
            "alone, Celery; latency"
        ),
    ): '`make bench ONLY="handling latency charging"`',
    (
        "Speed and size",
        ("the cost of an event stays flat from 10,000 to 1,000,000 events, and from 1 to 64 partitions"),
    ): "`make bench ONLY=flat`",
    ("Publishing", "p99 from commit to Kafka, and events a second beside a raw producer"): "`make bench ONLY=relay`",
    (
        "Publishing",
        (
            "its rate, encoding included, beside a raw producer's: the target is missed, see "
            "[performance.md](explanation/performance.md)"
        ),
    ): "`make bench ONLY=producing`",
    ("Faults and operations", "`streams executions list` with ten million rows"): "`make bench ONLY=ledger`",
    ("Faults and operations", "layers, types, lint"): "`make check`",
    ("Source tree and packaging", "both import contracts, outer and inside `delivery`"): "`make check`",
    (
        "Development",
        "the unit tests alone, within a minute; formatting; the list of targets",
    ): "`make unit`, `make format`, `make help`",
    ("Development", "coverage of delivery, transport and publishing is measured and shown"): "`make coverage`",
    ("Development", "any order: `-p xdist -n 2 --dist load`, shuffled"): (
        "`python -m pytest -n 2 --dist load --shuffle 1 tests/unit tests/contract tests/integration`"
    ),
}
"""Section and requirement → the commands that show it, alone or with tests."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One marker: the test shows the requirement."""

    section: str
    requirement: str
    test: str
    """``path::name``."""


def requirements(root: Path = ROOT) -> list[Shown]:
    """The markers of all tests, by path and line."""
    found: list[Shown] = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(root).as_posix()
        found.extend(Shown(*texts, f"{name}::{test}") for test, texts in _marked(tree))
    return found


def _marked(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str]]]:
    constants = _constants(tree)
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                for decorator in node.decorator_list:
                    if (texts := _texts(decorator, constants)) is not None:
                        yield node.name, texts
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
                # A stateful property: `TestX = pytest.mark.requirement(…)(Machine.TestCase)`.
                made: ast.expr = call
                while isinstance(made, ast.Call):
                    if (texts := _texts(made, constants)) is not None:
                        yield name, texts
                    made = made.func if (nested := _nested(made)) is None else nested
            case _:
                pass


def _nested(call: ast.Call) -> ast.expr | None:
    """The marked value inside a call that wraps another marker's result."""
    return call.args[0] if len(call.args) == 1 and isinstance(call.args[0], ast.Call) else None


def _constants(tree: ast.Module) -> dict[str, str]:
    """The texts that a module names, such as the section of all its tests."""
    found = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                found[name] = text
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                pairs = zip(names, values, strict=True)
                found.update(
                    {
                        name.id: value.value
                        for name, value in pairs
                        if isinstance(name, ast.Name)
                        and isinstance(value, ast.Constant)
                        and isinstance(value.value, str)
                    }
                )
            case _:
                pass
    return found


def _texts(node: ast.expr, constants: Mapping[str, str]) -> tuple[str, str] | None:
    """Section and requirement of a marker; None: it is something else.

    Raises ValueError for a marker whose texts are neither constants nor names of the module's constants.
    """
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Attribute(attr="mark"), attr="requirement"), args=[section, requirement]
        ):
            return _text(section, constants), _text(requirement, constants)
        case _:
            return None


def _text(node: ast.expr, constants: Mapping[str, str]) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) if name in constants:
            return constants[name]
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, constants) for part in parts)
        case ast.FormattedValue(value=part):
            return _text(part, constants)
        case _:
            message = f"line {node.lineno}: a requirement must be a text, or the name of a text of its module"
            raise ValueError(message)


def page() -> str:
    """The page's text. Raises KeyError for a marker whose section is not in `SECTIONS`."""
    tests: dict[tuple[str, str], list[str]] = defaultdict(list)
    for shown in requirements():
        tests[shown.section, shown.requirement].append(shown.test)
    if unknown := {section for section, _ in tests} - set(SECTIONS):
        message = f"sections that tests/support/acceptance.py does not list: {', '.join(sorted(unknown))}"
        raise KeyError(message)
    parts = [HEAD]
    for section, intro in SECTIONS.items():
        rows = sorted({key for key in (*tests, *COMMANDS) if key[0] == section})
        lines = [f"## {section}", ""]
        lines += [intro, ""] if intro else []
        lines += ["| requirement | shown by |", "|---|---|"]
        lines += [f"| {key[1]} | {_shown_by(COMMANDS.get(key), tests[key])} |" for key in rows]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _shown_by(commands: str | None, tests: list[str]) -> str:
    named = ", ".join(f"`{test}`" for test in tests)
    return "; ".join(filter(None, (commands, named)))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
