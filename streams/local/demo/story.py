"""The demo from beginning to end."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from streams.codec import build_codec
from streams.database import sync_engine
from streams.database.migrations import upgrade
from streams.dify.platform import build_platform
from streams.local.demo.deletion import delete_everything
from streams.local.demo.documents import SourceFile
from streams.local.demo.failure import let_one_fail
from streams.local.demo.index import index_documents
from streams.local.demo.question import Question, ask, question_for
from streams.local.demo.screen import Screen
from streams.local.demo.servers import Worker, adopt_settings, running_worker
from streams.local.demo.stage import Stage
from streams.local.demo.summary import Found, Summary
from streams.local.stack import LocalStack
from streams.operations.topics.apply import apply, plan_topics
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings


def tell(stack: LocalStack, sources: Sequence[SourceFile], question: Question | None, screen: Screen) -> Summary:
    """Start the stack and a worker, show everything, stop the worker; the stack is left running.

    `question`: None takes one from the documents. Raises ClaimError for whatever did not happen; ServerFailedError,
    StackError where a server does not start.
    """
    began = time.monotonic()
    screen.step("Kafka, PostgreSQL, Redis and a worker, on this machine")
    with screen.status("starting") as say:
        stack.up(say)
    settings, environment = adopt_settings(stack)
    _prepare(settings, screen)
    with running_worker(stack, settings, environment, screen) as worker:
        stage = _stage(settings, worker, screen)
        summary = _show(stage, sources, question)
    screen.done("the worker has drained and left")
    return summary(time.monotonic() - began)


def _prepare(settings: Settings, screen: Screen) -> None:
    """The schema `streams` and the topics, as `streams db upgrade` and `streams topics apply` make them."""
    upgrade(settings)
    plan = plan_topics(settings, build_catalogue(settings))
    apply(settings, plan.changes)
    screen.done(f"servers answer, the schema is migrated, {len(plan.changes)} topics are made")


def _stage(settings: Settings, worker: Worker, screen: Screen) -> Stage:
    catalogue = build_catalogue(settings)
    return Stage(
        settings=settings,
        catalogue=catalogue,
        codec=build_codec(settings, catalogue),
        engine=sync_engine(settings),
        platform=build_platform(settings),
        worker=worker,
        screen=screen,
    )


def _show(stage: Stage, sources: Sequence[SourceFile], question: Question | None) -> Callable[[float], Summary]:
    """The steps in order; returns what makes the summary once the whole time is known."""
    stage.screen.step(f"{len(sources)} documents become segments and vectors")
    indexed = index_documents(stage, sources)
    stage.screen.step("A question, answered from the vectors")
    asked = question or question_for(stage, indexed.uploads)
    passages = ask(stage, asked)
    stage.screen.step("A document whose file is absent: retries, dead letter, and back")
    failed = let_one_fail(stage, position=len(sources) + 1)
    stage.screen.step("A document is deleted, then the dataset")
    emptied = delete_everything(stage, indexed.uploads[-1])
    return partial(
        Summary,
        documents=len(sources),
        segments=indexed.segments,
        indexing_seconds=indexed.took,
        documents_per_second=len(sources) / indexed.took,
        segments_per_second=indexed.segments / indexed.took,
        latency_median=indexed.latency_median,
        latency_most=indexed.latency_most,
        question=asked.text,
        passages=tuple(Found(passage.document, passage.score, passage.text) for passage in passages),
        attempts=failed.attempts,
        dead_letter=failed.letter.id,
        dead_letter_reason=failed.letter.reason,
        retry_latest=failed.late,
        had=emptied.before,
        left=emptied.after,
    )
