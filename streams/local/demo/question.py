"""A question is answered from the vectors, with the passages that were found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from streams.dify.models import DocumentSegment
from streams.dify.search import Passage, passages
from streams.local.demo.claims import claim
from streams.local.demo.rows import Upload
from streams.local.demo.stage import Stage

PASSAGES = 3
SHOWN = 220
"""Characters of a passage that are shown."""
_WORDS = 12


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the document that must be among those found; None: any."""

    text: str
    expects: str | None = None


HANDBOOK_QUESTION = Question("How many days of holiday do I have in a year?", expects="annual-leave.md")


def chosen_question(text: str | None, folder: Path | None) -> Question | None:
    """The user's, or the handbook's; None: one is to be taken from the user's documents."""
    if text is not None:
        return Question(text)
    return HANDBOOK_QUESTION if folder is None else None


def ask(stage: Stage, question: Question) -> list[Passage]:
    """The best passages for a question. Raises ClaimError where there are none, or not of the expected document."""
    found = stage.in_session(
        lambda session: passages(session, stage.platform, stage.knowledge.dataset_id, question.text, PASSAGES)
    )
    claim(holds=bool(found), otherwise=f"no passage was found for {question.text!r}")
    names = [passage.document for passage in found]
    claim(
        holds=question.expects in {None, *names},
        otherwise=f"{question.text!r} found passages of {', '.join(names)}, but not of {question.expects}",
    )
    stage.screen.say(f"“{question.text}”")
    for passage in found:
        stage.screen.passage(f"{passage.document}  ({passage.score:.2f})", shortened(passage.text))
    stage.screen.done(f"{len(found)} passages, the nearest of {stage.vectors()} vectors")
    return found


def question_for(stage: Stage, uploads: Sequence[Upload]) -> Question:
    """One that unknown documents answer for certain: the beginning of a text in the middle of the first of them."""
    document = uploads[0]
    query = select(DocumentSegment.content).where(DocumentSegment.document_id == document.document_id)
    with stage.engine.connect() as connection:
        contents = connection.execute(query.order_by(DocumentSegment.position)).scalars().all()
    words = contents[len(contents) // 2].split()
    return Question(" ".join(words[:_WORDS]), document.source.name)


def shortened(text: str) -> str:
    """A passage on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else line[:SHOWN].rstrip() + "…"
