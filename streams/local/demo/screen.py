"""The output of the demo for a user."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

Update = Callable[[Mapping[str, int]], None]
_LABEL_WIDTH = 12


class Screen:
    """Prints steps, facts, bars and tables on a console; without a terminal, plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = 0

    def step(self, title: str) -> None:
        """Print the title of the next step."""
        self._steps += 1
        self._console.print(f"\n[bold]{self._steps}. {escape(title)}[/bold]")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(f"   {escape(text)}", soft_wrap=True)

    def done(self, text: str) -> None:
        """Print a statement that was verified."""
        self._console.print(f" [green]✓[/green] {escape(text)}", soft_wrap=True)

    def failure(self, text: str) -> None:
        """Print an expected failure."""
        self._console.print(f" [yellow]✗[/yellow] {escape(text)}", soft_wrap=True)

    @contextmanager
    def status(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a changing line during an operation; only on a terminal."""
        with self._console.status(f"   {escape(text)}") as status:
            yield lambda now: status.update(f"   {escape(now)}")

    @contextmanager
    def bars(self, names: Sequence[str], total: int) -> Iterator[Update]:
        """Show one bar per name; yields a function that sets all bars."""
        columns = (TextColumn(f"   {{task.description:<{_LABEL_WIDTH}}}"), BarColumn(40), MofNCompleteColumn())
        with Progress(*columns, console=self._console) as progress:
            tasks: dict[str, TaskID] = {name: progress.add_task(name, total=total) for name in names}

            def update(counts: Mapping[str, int]) -> None:
                for name, task in tasks.items():
                    progress.update(task, completed=counts.get(name, 0))

            yield update

    def passage(self, head: str, text: str) -> None:
        """Print a passage."""
        self._console.print(f"   [cyan]{escape(head)}[/cyan]", soft_wrap=True)
        self._console.print(f"     {escape(text)}", soft_wrap=True, style="dim")

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print names and values in two columns."""
        self.table(("", ""), list(facts.items()), heads=False)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, heads: bool = True) -> None:
        """Print rows of text."""
        table = Table(box=None, show_header=heads, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("   " + columns[0])
        for name in columns[1:]:
            table.add_column(name, justify="right" if heads else "left")
        for first, *rest in rows:
            table.add_row("   " + escape(first), *map(escape, rest))
        self._console.print(table)
