"""`streams demo`: the main job on real documents, each claim checked."""

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy.exc import OperationalError

from streams.cli.cluster import asking_kafka
from streams.cli.output import WRONG_REQUEST, CommandError, JSONOption, print_json
from streams.dead_letters.reading import RecordUnreadableError
from streams.dead_letters.replay import ReplayRefusedError
from streams.local import LocalStack, ServerFailedError, StackError
from streams.local.demo import (
    SETTINGS,
    ClaimError,
    DocumentsError,
    Screen,
    Summary,
    chosen_question,
    demo_stack,
    read_documents,
    tell,
)
from streams.publishing import PublishError
from streams.settings import load_settings


def demo(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Documents to index: txt, md, html. Default: a handbook.")
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
    screen = Screen(Console(stderr=as_json, highlight=False))
    with _terminable(), _failures_as_lines(), asking_kafka():
        documents = read_documents(folder)
        stack = demo_stack(load_settings().local_dir)
        try:
            summary = tell(stack, documents, chosen_question(question, folder), screen)
        except BaseException:
            stack.down()
            raise
        if keep:
            _show_way_in(screen, stack)
        else:
            stack.down()
    if as_json:
        print_json(asdict(summary))
    else:
        _show_summary(screen, summary, kept=keep)


def _show_summary(screen: Screen, summary: Summary, *, kept: bool) -> None:
    screen.step("In figures")
    screen.facts(summary.in_words())
    if not kept:
        screen.say("Nothing is left running. To look around in what a demo leaves: streams demo --keep")


def _show_way_in(screen: Screen, stack: LocalStack) -> None:
    screen.step("Look around")
    screen.say(f'eval "$(STREAMS_LOCAL_DIR={shlex.quote(str(stack.folder))} streams local env)"')
    screen.say(shlex.join(["export", *(f"{name}={value}" for name, value in SETTINGS.items())]))
    for command in ("streams executions summary", "streams executions list", "streams dlq list --replayed"):
        screen.say(command)
    screen.say("faust -A streams worker    # the demo's has ended")
    screen.say("streams local down         # ends the servers")


@contextmanager
def _failures_as_lines() -> Iterator[None]:
    try:
        yield
    except DocumentsError as error:
        raise CommandError(str(error), WRONG_REQUEST) from error
    except ServerFailedError as error:
        if error.log:
            sys.stderr.write(error.log.rstrip() + "\n")
        raise CommandError(str(error)) from error
    except (ClaimError, StackError, PublishError, RecordUnreadableError, ReplayRefusedError) as error:
        raise CommandError(str(error)) from error
    except OperationalError as error:
        message = f"the demo's database went away: {error.orig}"
        raise CommandError(message) from error


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds as an interrupt does, so that it leaves nothing running either."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's signature
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
