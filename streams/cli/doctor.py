"""`streams doctor`: says what a deployment lacks, before the first event."""

from dataclasses import asdict

import typer

from streams.cli.help import Command, examples
from streams.cli.options import prints_rows
from streams.cli.output import CommandError, Output, print_rows
from streams.cli.tables import Column
from streams.operations.doctor.examine import examine
from streams.runtime.declarations import build_catalogue
from streams.settings import load_settings

app = typer.Typer(add_completion=False)

COLUMNS = (
    Column("state", 1, styles={"ok": "green", "warning": "yellow", "fail": "red"}),
    Column("subject", 2),
    Column("text", 3, min_width=20),
    Column("remedy", 4, min_width=20),
)
FIELDS = ("subject", "state", "text", "remedy")


@app.command(cls=Command, epilog=examples("streams doctor", "streams doctor --wide"))
@prints_rows
def doctor(output: Output) -> None:
    """Check database, Kafka, storage, Redis, vector store, endpoints and registry; name a remedy for what is missing.

    It changes nothing but a file in the storage, which it removes. It sends one short text to the embedding endpoint
    and to the chat endpoint. It fails if some work is certain to fail.
    """
    settings = load_settings()
    findings = examine(settings, build_catalogue(settings))
    rows = [{name: asdict(finding)[name] for name in FIELDS} for finding in findings]
    print_rows(rows, COLUMNS, output, fields=FIELDS)
    failed = [finding for finding in findings if finding.state == "fail"]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        message = f"{failed[0].subject}: {failed[0].text}{more}"
        raise CommandError(message)
