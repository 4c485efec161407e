"""Answers a question from the vectors, with the passages that were found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from streams.dify.models import DocumentSegment
from streams.dify.search import Passage, passages
from streams.local.demo.checks import check
from streams.local.demo.context import DemoContext
from streams.local.demo.rows import Upload

PASSAGES = 3
SHOWN = 220
"""The number of characters of a passage on the screen."""
_WORDS = 12


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the document that must be among the results; None: any."""

    text: str
    expects: str | None = None


HANDBOOK_QUESTION = Question("How many days of holiday do I have in a year?", expects="annual-leave.md")


def choose_question(text: str | None, folder: Path | None) -> Question | None:
    """Return the user's question, or the handbook's; None: generate one from the user's documents."""
    if text is not None:
        return Question(text)
    return HANDBOOK_QUESTION if folder is None else None


def ask(demo: DemoContext, question: Question) -> list[Passage]:
    """Return the best passages for a question. Raises ClaimError if the expected document is not among them."""
    found = demo.in_session(
        lambda session: passages(session, demo.platform, demo.knowledge.dataset_id, question.text, PASSAGES)
    )
    check(condition=bool(found), message=f"no passage was found for {question.text!r}")
    names = [passage.document for passage in found]
    check(
        condition=question.expects in {None, *names},
        message=f"{question.text!r} found passages of {', '.join(names)}, but not of {question.expects}",
    )
    demo.screen.say(f"“{question.text}”")
    for passage in found:
        demo.screen.passage(f"{passage.document}  ({passage.score:.2f})", shortened(passage.text))
    demo.screen.done(f"{len(found)} passages, the nearest of {demo.vectors()} vectors")
    return found


def question_for(demo: DemoContext, uploads: Sequence[Upload]) -> Question:
    """Return a question that the documents answer: the start of a segment in the middle of the first document."""
    document = uploads[0]
    query = select(DocumentSegment.content).where(DocumentSegment.document_id == document.document_id)
    with demo.engine.connect() as connection:
        contents = connection.execute(query.order_by(DocumentSegment.position)).scalars().all()
    words = contents[len(contents) // 2].split()
    return Question(" ".join(words[:_WORDS]), document.source.name)


def shortened(text: str) -> str:
    """Return a passage as one line, truncated if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN].rstrip() + "…"
