"""`streams acls`: the rights in Kafka and PostgreSQL that each kind of process needs."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from streams.cli.help import Command, examples
from streams.cli.output import WRONG_REQUEST, CommandError, JSONOption, print_json, print_text
from streams.database.rights import rights_sql
from streams.operations.topics.acls import Role, kafka_acls_lines, rules_of, strimzi_user
from streams.runtime.declarations import build_catalogue
from streams.settings import load_settings
from streams.topics import UnknownEventError

app = typer.Typer(add_completion=False)


class Form(StrEnum):
    """How the rights are printed."""

    LINES = "lines"
    STRIMZI = "strimzi"
    SQL = "sql"


EXAMPLES = (
    "streams acls worker",
    "streams acls producer --event app.created --principal User:api",
    "streams acls relay --format strimzi --cluster main",
    "streams acls worker --json",
    "streams acls --format sql",
)


@app.command(cls=Command, epilog=examples(*EXAMPLES))
def acls(  # noqa: PLR0913 - one parameter per option
    role: Annotated[
        Role | None, typer.Argument(metavar="ROLE", help="Whose rights; without it, all of them. Not with sql.")
    ] = None,
    *,
    form: Annotated[
        Form, typer.Option("--format", help="lines: the arguments of kafka-acls.sh, one rule each.")
    ] = Form.LINES,
    as_json: JSONOption = False,
    events: Annotated[list[str] | None, typer.Option("--event", help="Only events of this topic (producer).")] = None,
    principal: Annotated[str | None, typer.Option("--principal", help="Default: User:streams-ROLE.")] = None,
    cluster: Annotated[str, typer.Option("--cluster", help="The name of Strimzi's Kafka resource.")] = "kafka",
) -> None:
    """Print the rights that a producer, worker, relay, exporter, operator or deployment needs, and nothing more."""
    if form is Form.SQL:
        if role or as_json:
            message = "--format sql prints the SQL of all roles: leave out ROLE and --json"
            raise CommandError(message, WRONG_REQUEST)
        _print_lines(rights_sql())
        return
    settings = load_settings()
    catalogue = build_catalogue(settings)
    try:
        published = [catalogue.topic(name).event for name in events] if events else None
    except UnknownEventError as error:
        raise CommandError(str(error), WRONG_REQUEST) from error
    rules = {one: rules_of(one, settings, catalogue, published) for one in ([role] if role else Role)}
    if as_json:
        print_json({one: [asdict(rule) for rule in found] for one, found in rules.items()})
    elif form is Form.LINES:
        for one, found in rules.items():
            _print_lines("\n".join(kafka_acls_lines(found, principal or f"User:streams-{one}")))
    else:
        users = [
            strimzi_user(found, (principal or f"streams-{one}").removeprefix("User:"), cluster)
            for one, found in rules.items()
        ]
        _print_lines("---\n".join(users))


def _print_lines(text: str) -> None:
    for line in text.splitlines():
        print_text(line)
