"""Runs the demo in a terminal. It ends with its figures or with one error line, and stops all servers."""

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console
from sqlalchemy.exc import OperationalError

from streams.cli.cluster import kafka_errors_as_command_errors
from streams.cli.output import WRONG_REQUEST, CommandError, print_json, show_log
from streams.local import LocalStack, ServerFailedError, StackError
from streams.local.demo import (
    SETTINGS,
    ClaimError,
    DocumentsError,
    Screen,
    Summary,
    choose_question,
    demo_stack,
    read_documents,
    run_demo,
    run_demo_on_existing,
)
from streams.operations.dead_letters.records import RecordUnreadableError
from streams.operations.dead_letters.replay import ReplayRefusedError
from streams.publishing import PublishError
from streams.settings import load_settings

_INTERRUPTED = 130
"""The shell's convention: 128 plus the number of SIGINT."""


def demonstrate(folder: Path | None, question: str | None, *, keep: bool, existing: bool, as_json: bool) -> None:
    """Run the demo and print its results.

    Args:
        folder: The documents. None: the built-in handbook.
        question: The question to ask. None: one that fits the documents.
        keep: Leave the servers running.
        existing: Use the servers and workers of the settings, and leave them running.
        as_json: Print the summary as JSON on stdout, and the progress on stderr.

    Raises:
        CommandError: The demo failed, or was interrupted.
    """
    screen = Screen(Console(stderr=as_json, highlight=False))
    stack = None
    with _terminable(), _errors_as_command_errors(), kafka_errors_as_command_errors():
        documents = read_documents(folder)
        asked = choose_question(question, folder)
        if existing:
            summary = run_demo_on_existing(load_settings(), documents, asked, screen)
        else:
            stack = demo_stack(load_settings().local_dir)
            summary = _run_with_own_stack(stack, partial(run_demo, stack, documents, asked, screen), keep=keep)
    if as_json:
        print_json(asdict(summary))
    else:
        screen.step("In figures")
        screen.facts(summary.in_words())
    if stack is None:
        return
    if keep:
        _show_way_in(screen, stack)
    else:
        screen.say("All servers are stopped. To inspect the data of a demo: streams demo --keep")


def _run_with_own_stack(stack: LocalStack, run: Callable[[], Summary], *, keep: bool) -> Summary:
    """Run the demo. The stack is stopped at its end, but with `keep` only after an error."""
    try:
        summary = run()
    except BaseException:
        stack.down()
        raise
    if not keep:
        stack.down()
    return summary


def _show_way_in(screen: Screen, stack: LocalStack) -> None:
    screen.step("Inspect the data")
    screen.say(f'eval "$(STREAMS_LOCAL_DIR={shlex.quote(str(stack.folder))} streams local env)"')
    screen.say(shlex.join(["export", *(f"{name}={value}" for name, value in SETTINGS.items())]))
    for command in ("streams executions summary", "streams executions list", "streams dlq list --replayed"):
        screen.say(command)
    screen.say("faust -A streams worker    # starts a worker; the demo's worker has ended")
    screen.say("streams local down         # stops the servers")


@contextmanager
def _errors_as_command_errors() -> Iterator[None]:
    try:
        yield
    except DocumentsError as error:
        raise CommandError(str(error), WRONG_REQUEST) from error
    except ServerFailedError as error:
        if error.log:
            show_log(error.log)
        raise CommandError(str(error)) from error
    except (ClaimError, StackError, PublishError, RecordUnreadableError, ReplayRefusedError) as error:
        raise CommandError(str(error)) from error
    except OperationalError as error:
        message = f"the connection to the demo's database was lost: {error.orig}"
        raise CommandError(message) from error


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM and SIGINT as Ctrl-C, from which asyncio unwinds too, so that all servers are stopped.

    SIGINT's handler is set as well: a shell lets the background jobs of a script ignore it.

    Raises:
        CommandError: The demo was interrupted.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signal module's signature
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as error:
        message = "interrupted, nothing is left running"
        raise CommandError(message, _INTERRUPTED) from error
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
