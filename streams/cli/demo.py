"""`streams demo`: the main job on real documents, each claim checked."""

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
        typer.Argument(metavar="FOLDER", help="Documents to index, of any format that is read. Default: a handbook."),
    ] = None,
    *,
    question: Annotated[
        str | None, typer.Option("--question", help="What to ask the documents; default: one that fits them.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers running to look around.")] = False,
    as_json: JSONOption = False,
) -> None:
    """Show the main job on real documents; fails where anything that it claims did not happen.

    Has a local stack of its own in STREAMS_LOCAL_DIR/demo, made anew each time. Leaves nothing running.
    """
    # Every command loads this module; only this one needs the platform's services and the embedding model.
    from streams.cli.demo_run import demonstrate  # noqa: PLC0415 - see above

    demonstrate(folder, question, keep=keep, as_json=as_json)
