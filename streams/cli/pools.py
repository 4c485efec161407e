"""`streams pools`: the consumer groups and how much each of their workers takes on."""

import typer

from streams.cli.output import JSONOption, print_rows
from streams.runtime.declarations import build_catalogue, build_pools
from streams.settings import load_settings

app = typer.Typer(add_completion=False)


@app.command()
def pools(*, as_json: JSONOption = False) -> None:
    """Show each pool's priority (0 is the most urgent), concurrency, prefetch and topics."""
    settings = load_settings()
    catalogue = build_catalogue(settings)
    rows = [
        {
            "name": pool.name,
            "priority": pool.priority,
            "concurrency": pool.concurrency,
            "prefetch": pool.prefetch,
            "topics": [topic.name for topic in catalogue.in_pool(pool.name)],
        }
        for pool in build_pools(settings)
    ]
    print_rows(rows, as_json=as_json)
