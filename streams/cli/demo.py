"""`streams demo`: indexes real documents and checks every result that it shows."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.help import Command, examples
from streams.cli.output import JSONOption

app = typer.Typer(add_completion=False)


@app.command(
    cls=Command, epilog=examples("streams demo", "streams demo documents --question 'How long is the warranty?'")
)
def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="The folder of documents to index. Default: a built-in handbook."),
    ] = None,
    *,
    question: Annotated[
        str | None,
        typer.Option("--question", help="The question to ask about the documents. Default: one that fits them."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running for inspection.")] = False,
    existing: Annotated[
        bool, typer.Option("--existing", help="Use the servers and workers of the settings instead of own ones.")
    ] = False,
    as_json: JSONOption = False,
) -> None:
    """Index, retry, search and delete real documents. The command fails if a result is not what it claims.

    It starts its own local stack in STREAMS_LOCAL_DIR/demo, new for each run, and stops it at the end.
    """
    # The help loads this module; only the run needs the platform's services and the embedding model.
    from streams.cli.demo_run import demonstrate  # noqa: PLC0415 - see above

    demonstrate(folder, question, keep=keep, existing=existing, as_json=as_json)
