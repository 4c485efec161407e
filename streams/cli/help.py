"""The help page of a command: types as words, and examples that can be copied."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from uuid import UUID

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

_WORDS: dict[type, str] = {int: "NUMBER", float: "NUMBER", UUID: "ID", Path: "PATH"}

Parameter = TyperArgument | TyperOption


def examples(*lines: str) -> str:
    """Return the examples of a command for its `epilog`, one per line."""
    return "\n".join(lines)


class Command(TyperCommand):
    """A command whose help page has types as words, and examples."""

    def get_help(self, ctx: typer.Context) -> str:  # type: ignore[override]  # Typer keeps its own Context private
        """Return the help page."""
        return page(self, ctx)


class Group(TyperGroup):
    """A group of commands with the same kind of help page."""

    def get_help(self, ctx: typer.Context) -> str:  # type: ignore[override]  # Typer keeps its own Context private
        """Return the help page."""
        return page(self, ctx)

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # as above
        """Parse the arguments. Without a command it prints the help page and exits with code 2."""
        if not args and not ctx.resilient_parsing:
            typer.echo(page(self, ctx))
            raise typer.Exit(2)
        return super().parse_args(ctx, args)


def usage_problem(error: typer.TyperException) -> str:
    """Describe a usage error in one line that names the help page."""
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message} (see `{context.command_path} --help`)"


def page(command: TyperCommand | TyperGroup, ctx: typer.Context) -> str:
    """Return the help page of a command."""
    formatter = ctx.make_formatter()
    found = [one for one in command.get_params(ctx) if isinstance(one, TyperArgument | TyperOption) and not one.hidden]
    arguments = [one for one in found if isinstance(one, TyperArgument)]
    options = [one for one in found if isinstance(one, TyperOption)]
    takes = [usage_of(one) for one in arguments]
    if isinstance(command, TyperGroup):
        takes.append("COMMAND")
    formatter.write_usage(ctx.command_path, " ".join(["[OPTIONS]", *takes]))
    for paragraph in (command.help or "").split("\n\n"):
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(" ".join(paragraph.split()))
    if isinstance(command, TyperGroup):
        known = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, first_sentence(one.help or "")) for name, one in known if one is not None])
    for title, rows in (
        ("Arguments", [(name_of(one), help_of(one)) for one in arguments]),
        ("Options", [(" ".join([*one.opts, *type_of(one)]), help_of(one)) for one in options]),
    ):
        if rows:
            with formatter.section(title):
                formatter.write_dl(rows)
    if command.epilog:
        with formatter.section("Examples"):
            for line in command.epilog.splitlines():
                formatter.write(f"  {line}\n")
    return formatter.getvalue().rstrip("\n")


def usage_of(argument: TyperArgument) -> str:
    """Return an argument for the usage line: in brackets if it is optional, with dots if it may be repeated."""
    name = name_of(argument) + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def name_of(argument: TyperArgument) -> str:
    """Return the name of an argument in capitals."""
    return argument.metavar or (argument.name or "").upper()


def type_of(option: TyperOption) -> Sequence[str]:
    """Return the type of an option as a word or as its choices; nothing for a flag."""
    described = option.type_descriptor
    if option.is_flag:
        return ()
    if option.metavar:
        return (option.metavar,)
    if described.is_choice:
        return ("|".join(str(_plain(choice)) for choice in described.choices or ()),)
    return (_WORDS.get(described.annotation, "TEXT"),)


def help_of(parameter: Parameter) -> str:
    """Return the help of a parameter with its default."""
    text = parameter.help or ""
    default = parameter.default
    if default is None or isinstance(default, bool) or callable(default):
        return text
    return f"{text} Default: {_plain(default)}."


def first_sentence(text: str) -> str:
    """Return the first sentence of a command's help, for the list of commands."""
    return " ".join(text.split("\n\n", maxsplit=1)[0].split()).partition(". ")[0].rstrip(".")


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value
