"""`python -m dashboards [--runbooks URL] [--folder FOLDER] [--rules FOLDER]` writes dashboards, and alerts if asked."""

import argparse
from pathlib import Path

from dashboards import RUNBOOKS, alert_rules, files

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"


def main() -> None:
    """Write one file per dashboard, and the alert rules where they are asked for."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write the dashboards")
    parser.add_argument("--rules", type=Path, help="where to write alerts.yml; without it, the rules are not written")
    parser.add_argument(
        "--runbooks", default=RUNBOOKS, help="the address of the folder of the runbooks, for all links to them"
    )
    arguments = parser.parse_args()
    runbooks = arguments.runbooks.rstrip("/")
    _write(arguments.folder, files(runbooks))
    if arguments.rules is not None:
        _write(arguments.rules, alert_rules(runbooks))


def _write(folder: Path, texts: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
