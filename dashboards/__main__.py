"""`python -m dashboards [--folder deploy/grafana/dashboards] [--runbooks URL]` writes the dashboards' JSON."""

import argparse
from pathlib import Path

from dashboards import RUNBOOKS, files

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"


def main() -> None:
    """Write one file per dashboard."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write the files")
    parser.add_argument("--runbooks", default=RUNBOOKS, help="the address of the folder of the runbooks, for the links")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, text in files(arguments.runbooks).items():
        (arguments.folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
