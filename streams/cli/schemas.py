"""`streams schemas`: exports the Avro schemas of the event classes, checks them, and registers them over HTTP."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from schemas.avro_type import BadSchemaError
from schemas.registry import FileRegistry, RegistryError
from streams import __version__
from streams.cli.help import Command, Group, examples
from streams.cli.options import prints_rows
from streams.cli.output import WRONG_REQUEST, CommandError, JSONOption, Output, print_json, print_rows, print_text
from streams.cli.tables import Column
from streams.operations.topics.asyncapi import asyncapi_document
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.schema_registry.clients import open_http_registry, schema_folder
from streams.schema_registry.export import SchemaExportError, drifts, incompatible, summary
from streams.schema_registry.export import export as export_schemas
from streams.schema_registry.register import Registered, versions_to_register
from streams.schema_registry.register import register as register_schemas
from streams.settings import Settings, load_settings
from streams.topics import load_catalogue

app = typer.Typer(
    cls=Group,
    help="Export, check and register the Avro schemas of the event classes.",
    epilog=examples("streams schemas check"),
    add_completion=False,
)

WRITTEN = (Column("id", 3), Column("subject", 1), Column("version", 2), Column("file", 4))
REGISTERED = (Column("subject", 1), Column("version", 2), Column("id", 3), Column("compatibility", 4))

FolderOption = Annotated[
    str | None,
    typer.Option("--folder", metavar="PATH", help="The folder of the schema files. Default: the one in the settings."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be registered, without a request.")]
DraftOption = Annotated[
    bool, typer.Option("--draft", help="Mark new schemas as drafts, which the next export may replace.")
]


def _folder(given: str | None, settings: Settings) -> Path:
    """Return the folder of an option. An empty one would be the current folder, which nobody means."""
    if given == "":
        message = "--folder is empty: name a folder, or leave the option out"
        raise CommandError(message, WRONG_REQUEST)
    return schema_folder(settings) if given is None else Path(given)


@app.command("export", cls=Command, epilog=examples("streams schemas export", "streams schemas export --draft"))
@prints_rows
def export(output: Output, *, folder: FolderOption = None, draft: DraftOption = False) -> None:
    """Write the schema of every new or changed event with a new version and id."""
    settings = load_settings()
    try:
        written = export_schemas(load_catalogue(settings), _folder(folder, settings), draft=draft)
    except (RegistryError, SchemaExportError, BadSchemaError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
        raise CommandError(message) from error
    rows = [{"id": row.id, "subject": row.subject, "version": row.version, "file": row.file} for row in written]
    print_rows(rows, WRITTEN, output, empty="no event has changed: nothing to write")


@app.command(
    "check", cls=Command, epilog=examples("streams schemas check", "streams schemas check --folder schemas/avro")
)
def check(*, folder: FolderOption = None, as_json: JSONOption = False) -> None:
    """Check the schemas against the event classes, without a server.

    The command fails if an event class is incompatible with its earlier versions, or differs from its newest file.
    """
    settings = load_settings()
    try:
        registry, catalogue = FileRegistry(_folder(folder, settings)), load_catalogue(settings)
        broken = incompatible(catalogue, registry)
        found = drifts(catalogue, registry)
    except (RegistryError, SchemaExportError, BadSchemaError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        of_breaks = [(one.subject, one.event, one.file, one) for one in broken]
        of_drifts = [(one.subject, one.event, one.replaces or one.file, one) for one in found]
        print_json(
            [
                {"subject": subject, "event": event, "file": file, "problem": str(problem)}
                for subject, event, file, problem in (*of_breaks, *of_drifts)
            ]
        )
    if broken:
        raise CommandError(summary(broken))
    if found:
        raise CommandError(summary(found))
    if not as_json:
        print_text(f"{len(list(registry))} schemas in {registry.folder} agree with their classes and with each other")


@app.command("asyncapi", cls=Command, epilog=examples("streams schemas asyncapi"))
def asyncapi(*, folder: FolderOption = None, as_json: JSONOption = False) -> None:  # noqa: ARG001 - always JSON
    """Print an AsyncAPI 3 document, as JSON: the topics with their events, keys, Avro schemas and handlers."""
    settings = load_settings()
    try:
        registry = FileRegistry(_folder(folder, settings))
        document = asyncapi_document(build_catalogue(settings), build_handlers(settings), registry, version=__version__)
    except RegistryError as error:
        raise CommandError(str(error)) from error
    print_json(document)


@app.command("register", cls=Command, epilog=examples("streams schemas register --dry-run"))
@prints_rows
def register(output: Output, *, dry_run: DryRunOption = False) -> None:
    """Register every version of every event over HTTP, with its compatibility level. It is safe to repeat."""
    settings = load_settings()
    if not settings.has_http_registry:
        message = "STREAMS_SCHEMA_REGISTRY_URL names files, not a server: use `streams schemas export`"
        raise CommandError(message, WRONG_REQUEST)
    catalogue, registry = load_catalogue(settings), open_http_registry(settings)
    if dry_run:
        known = versions_to_register(catalogue, registry.files)
        found = [Registered(row.subject, row.version, None, topic.event.compatibility) for topic, row in known]
    else:
        found = list(register_schemas(catalogue, registry))
    print_rows([asdict(one) for one in found], REGISTERED, output)
