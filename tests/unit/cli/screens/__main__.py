"""`python -m tests.unit.cli.screens`: makes the screens anew. Look at what has changed before you commit it."""

from tests.unit.cli.screens import SCREENS, kept, lines

for name in SCREENS:
    for path, screen in kept(name).items():
        path.write_text("".join(f"{line}\n" for line in lines(name, screen)), encoding="utf-8")
