"""`python -m tests.support.chart.golden` writes what the examples render to, for a person to review.

The minimal example is there in full. Every other one is a diff against it, so a feature shows as what it changes. The
chart has three topics, one rule and one dashboard here, so that those of the code do not fill the files.
"""

import difflib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from helm_python import Chart

from tests.support.chart.files import CHART
from tests.support.chart.render import examples, read_values, render
from tests.support.pages import ROOT

FOLDER = ROOT / "tests" / "deployment" / "chart" / "golden"
TOPICS = {"message.created", "document.deleted", "tenant.created"}
RULES = """\
groups:
  - name: example
    rules:
      - record: streams:objective_ratio
        expr: vector(0.99)
      - record: streams:objective_age_seconds
        expr: vector(60)
        labels: {pool: high}
      - record: streams:objective_age_seconds
        expr: vector(900)
        labels: {pool: default}
      - alert: Example
        expr: streams_outbox_oldest_seconds > 60
        annotations:
          summary: "{{ $labels.instance }} is late"
          runbook_url: https://runbooks.example/streams/outbox-grows.md
"""
DASHBOARD = """\
{"title": "Example", "panels": [{"legend": "{{topic}}"}], "links": ["https://runbooks.example/streams/lag-grows.md"]}
"""


@contextmanager
def small_chart() -> Iterator[Chart]:
    """Yield a copy of the chart with little content."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / CHART.name
        shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("rules", "dashboards"))
        catalogue = copy / "files" / "catalogue.json"
        content = json.loads(catalogue.read_text(encoding="utf-8"))
        content["topics"] = [topic for topic in content["topics"] if topic["name"] in TOPICS]
        catalogue.write_text(json.dumps(content), encoding="utf-8")
        for path, text in {"rules/alerts.yml": RULES, "dashboards/example.json": DASHBOARD}.items():
            (copy / "files" / path).parent.mkdir()
            (copy / "files" / path).write_text(text, encoding="utf-8")
        with Chart.load(copy) as chart:
            yield chart


def golden() -> Mapping[Path, str]:
    """Return the content of each file of the folder."""
    with small_chart() as chart:
        texts = {name: _text(render(read_values(name), chart=chart)) for name in examples()}
    minimal = texts.pop("minimal")
    return {
        FOLDER / "minimal.yaml": minimal,
        **{FOLDER / f"{name}.diff": _diff(minimal, text) for name, text in texts.items()},
    }


def _text(rendered: Mapping[str, str]) -> str:
    return "".join(f"# {path}\n{text.strip()}\n" for path, text in sorted(rendered.items()))


def _diff(old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "minimal", "example", n=2, lineterm="")
    return "".join(f"{line}\n" for line in lines if not line.startswith("@@"))


def main() -> None:
    """Write the files, and remove those of examples that are gone."""
    wanted = golden()
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
