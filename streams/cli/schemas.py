"""`streams schemas`: the Avro files that the event classes stand for."""

from pathlib import Path
from typing import Annotated

import typer

from schemas.registry import FileRegistry, RegistryError, registry_folder
from streams.cli.output import CommandError, JSONOption, print_json, print_rows
from streams.schema_export import SchemaExportError, drifts
from streams.schema_export import export as export_schemas
from streams.settings import load_settings
from streams.topics import load_catalogue

app = typer.Typer(help="The Avro files that the event classes stand for.", no_args_is_help=True)

FolderOption = Annotated[
    Path | None, typer.Option("--folder", help="The registry's folder; default: STREAMS_SCHEMA_REGISTRY_URL.")
]


@app.command("export")
def export(*, folder: FolderOption = None, as_json: JSONOption = False) -> None:
    """Write the schema of every new or changed event, under a new version and id."""
    settings = load_settings()
    try:
        added = export_schemas(load_catalogue(settings), folder or registry_folder(settings.schema_registry_url))
    except (RegistryError, SchemaExportError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
        raise CommandError(message) from error
    rows = [{"id": row.id, "subject": row.subject, "version": row.version, "file": row.file} for row in added]
    print_rows(rows, as_json=as_json, empty="no event has changed: nothing to write")


@app.command("check")
def check(*, folder: FolderOption = None, as_json: JSONOption = False) -> None:
    """Fail where an event's class is not what the newest committed file says."""
    settings = load_settings()
    try:
        registry = FileRegistry(folder or registry_folder(settings.schema_registry_url))
        found = drifts(load_catalogue(settings), registry)
    except (RegistryError, SchemaExportError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json(
            [{"subject": drift.subject, "event": drift.event, "file": drift.replaces or drift.file} for drift in found]
        )
    if found:
        message = f"{found[0]}" + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")
        raise CommandError(message)
    if not as_json:
        typer.echo(f"{len(list(registry))} schemas in {registry.folder} agree with their classes")
