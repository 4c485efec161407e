"""Runs the demo from start to end."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from streams.codec import build_codec
from streams.database import sync_engine
from streams.database.migrations import upgrade
from streams.dify.platform import build_platform
from streams.local.demo.checks import check
from streams.local.demo.context import DemoContext
from streams.local.demo.deletion import delete_everything
from streams.local.demo.documents import SourceFile
from streams.local.demo.failure import run_failing_document
from streams.local.demo.index import index_documents
from streams.local.demo.question import Question, ask, question_for
from streams.local.demo.screen import Screen
from streams.local.demo.servers import RETRY_DELAYS, SETTINGS, adopt_settings, running_worker
from streams.local.demo.summary import Found, Summary
from streams.local.stack import LocalStack
from streams.operations.topics.apply import apply, plan_topics
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings


def run_demo(stack: LocalStack, sources: Sequence[SourceFile], question: Question | None, screen: Screen) -> Summary:
    """Start the stack and a worker, run all steps, and stop the worker. The stack stays running.

    Args:
        stack: the demo's stack.
        sources: the documents.
        question: the question to ask; None: generated from the documents.
        screen: the output.

    Raises:
        ClaimError: a statement is not true.
        ServerFailedError: a server does not start.
        StackError: the stack cannot be used.
    """
    began = time.monotonic()
    with _open_runner() as runner:
        screen.step("Kafka, PostgreSQL, Redis and a worker, on this machine")
        with screen.status("starting") as say:
            stack.up(say)
        settings, environment = adopt_settings(stack)
        _prepare(settings, screen)
        with running_worker(stack, settings, environment, screen) as worker:
            demo = _context(settings, runner, worker.check_alive, screen)
            summary = _run_steps(demo, sources, question)
        screen.done("the worker has drained and stopped")
    return summary(time.monotonic() - began)


def run_demo_on_existing(
    settings: Settings, sources: Sequence[SourceFile], question: Question | None, screen: Screen
) -> Summary:
    """Run all steps on servers and workers that run already. They stay running.

    Args:
        settings: their settings. The workers need the same, and the retries of deploy/compose/overrides.toml.
        sources: the documents.
        question: the question to ask; None: generated from the documents.
        screen: the output.

    Raises:
        ClaimError: a statement is not true.
    """
    began = time.monotonic()
    wanted = " ".join(f"{name}={value}" for name, value in SETTINGS.items())
    check(condition=settings.retry_delays == RETRY_DELAYS, message=f"the demo needs {wanted}, here and at the workers")
    screen.step("Servers and workers that run already")
    with _open_runner() as runner:
        demo = _context(settings, runner, lambda: None, screen)
        screen.done(f"Kafka at {settings.kafka_bootstrap_servers}")
        return _run_steps(demo, sources, question)(time.monotonic() - began)


@contextmanager
def _open_runner() -> Iterator[asyncio.Runner]:
    """Create the event loop of all steps, before the first of them.

    An interrupt while Python builds a loop leaves its own messages behind the demo's last line.
    """
    with asyncio.Runner() as runner:
        runner.get_loop()
        yield runner


def _prepare(settings: Settings, screen: Screen) -> None:
    """Create the schema `streams` and the topics, as `streams db upgrade` and `streams topics apply` do."""
    upgrade(settings)
    plan = plan_topics(settings, build_catalogue(settings))
    apply(settings, plan.changes)
    screen.done(f"servers answer, the schema is migrated, {len(plan.changes)} topics are created")


def _context(
    settings: Settings, runner: asyncio.Runner, check_alive: Callable[[], None], screen: Screen
) -> DemoContext:
    catalogue = build_catalogue(settings)
    return DemoContext(
        settings=settings,
        catalogue=catalogue,
        codec=build_codec(settings, catalogue),
        engine=sync_engine(settings),
        platform=build_platform(settings),
        runner=runner,
        check_alive=check_alive,
        screen=screen,
    )


def _run_steps(
    demo: DemoContext, sources: Sequence[SourceFile], question: Question | None
) -> Callable[[float], Summary]:
    """Run the steps in order. Returns a function that creates the summary from the total time."""
    demo.screen.step(f"{len(sources)} documents become segments and vectors")
    indexed = index_documents(demo, sources)
    demo.screen.step("A question, answered from the vectors")
    chosen = question or question_for(demo, indexed.uploads)
    passages = ask(demo, chosen)
    demo.screen.step("A document whose file is missing: retries, dead letter, replay")
    failed = run_failing_document(demo, position=len(sources) + 1)
    demo.screen.step("A document is deleted, then the dataset")
    emptied = delete_everything(demo, indexed.uploads[-1])
    return partial(
        Summary,
        documents=len(sources),
        segments=indexed.segments,
        indexing_seconds=indexed.took,
        documents_per_second=len(sources) / indexed.took,
        segments_per_second=indexed.segments / indexed.took,
        latency_median=indexed.latency_median,
        latency_most=indexed.latency_most,
        question=chosen.text,
        passages=tuple(Found(passage.document, passage.score, passage.text) for passage in passages),
        attempts=failed.attempts,
        dead_letter=failed.letter.id,
        dead_letter_reason=failed.letter.reason,
        retry_latest=failed.late,
        had=emptied.before,
        left=emptied.after,
    )
