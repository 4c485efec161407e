"""`python -m tests.unit.cli.screens` renders the golden files again. Check the changes before you commit them."""

from tests.unit.cli.screens import SCREENS, golden_files, lines

for name in SCREENS:
    for path, screen in golden_files(name).items():
        path.write_text("".join(f"{line}\n" for line in lines(name, screen)), encoding="utf-8")
