"""The options of every command that prints rows: --output, --json, --wide."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Concatenate

import typer

from streams.cli.output import Format, Output

MAX_ROWS = 1_000_000
"""The largest --limit. Rows are held in memory."""
OutputOption = Annotated[
    Format, typer.Option("--output", help="The output format; json, jsonl and csv have every field.")
]
AsJSONOption = Annotated[bool, typer.Option("--json", help="Print JSON, the same as --output json.")]
WideOption = Annotated[bool, typer.Option("--wide", help="Show every column on a terminal of any width.")]


def prints_rows(command: Callable[Concatenate[Output, ...], None]) -> Callable[..., None]:
    """Turn a function whose first parameter is an `Output` into a command.

    The command has the options --output, --json and --wide in place of that parameter.
    """

    @functools.wraps(command)
    def run(*, output_format: Format, as_json: bool, wide: bool, **given: object) -> None:
        command(Output(Format.JSON if as_json else output_format, wide), **given)

    signature = inspect.signature(command, eval_str=True)
    _, *own = signature.parameters.values()
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, default, annotation in (
            ("output_format", Format.TABLE, OutputOption),
            ("as_json", False, AsJSONOption),
            ("wide", False, WideOption),
        )
    ]
    parameters = [*own, *added]
    # Typer reads the parameters from these two attributes.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # functions may have it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    return run
