"""Running the demo in a terminal: it ends with its figures or one line, and leaves nothing running."""

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from rich.console import Console
from sqlalchemy.exc import OperationalError

from streams.cli.cluster import asking_kafka
from streams.cli.output import WRONG_REQUEST, CommandError, print_json, show_log
from streams.local import LocalStack, ServerFailedError, StackError
from streams.local.demo import (
    SETTINGS,
    ClaimError,
    DocumentsError,
    Screen,
    choose_question,
    demo_stack,
    read_documents,
    run_demo,
)
from streams.operations.dead_letters.records import RecordUnreadableError
from streams.operations.dead_letters.replay import ReplayRefusedError
from streams.publishing import PublishError
from streams.settings import load_settings

_INTERRUPTED = 130
"""As a shell has it: 128 and SIGINT's number."""


def demonstrate(folder: Path | None, question: str | None, *, keep: bool, as_json: bool) -> None:
    """Run it. Raises CommandError for what a user can understand."""
    screen = Screen(Console(stderr=as_json, highlight=False))
    with _terminable(), _failures_as_lines(), asking_kafka():
        documents = read_documents(folder)
        stack = demo_stack(load_settings().local_dir)
        try:
            summary = run_demo(stack, documents, choose_question(question, folder), screen)
        except BaseException:
            stack.down()
            raise
        if not keep:
            stack.down()
    if as_json:
        print_json(asdict(summary))
    else:
        screen.step("In figures")
        screen.facts(summary.in_words())
    if keep:
        _show_way_in(screen, stack)
    else:
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
            show_log(error.log)
        raise CommandError(str(error)) from error
    except (ClaimError, StackError, PublishError, RecordUnreadableError, ReplayRefusedError) as error:
        raise CommandError(str(error)) from error
    except OperationalError as error:
        message = f"the demo's database went away: {error.orig}"
        raise CommandError(message) from error


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is taken as Ctrl-C, which asyncio too unwinds from; nothing is left running, and both end with a line.

    Also in the background of a script, where the shell has Ctrl-C ignored.
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
