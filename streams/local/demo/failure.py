"""A document whose file is missing: retries, the dead letter, and a replay after the file was stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from schemas import DocumentIndexRequested
from streams.local.demo.checks import check
from streams.local.demo.context import DemoContext, Execution
from streams.local.demo.documents import LATE_FILE
from streams.local.demo.index import INDEXING
from streams.local.demo.rows import Upload, add_documents, upload_of
from streams.local.demo.servers import ATTEMPTS
from streams.operations.dead_letters.index import DeadLetter, DeadLetterFilter, list_dead_letters
from streams.operations.dead_letters.records import read_record
from streams.operations.dead_letters.replay import replay

MAX_DELAY = 1.0
"""Seconds: the guaranteed limit for the delay of a retry on an idle worker."""


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """The outcome for the document."""

    upload: Upload
    letter: DeadLetter
    attempts: int
    """The number of runs before it became a dead letter."""
    late: float
    """Seconds from the due time of the latest retry to its start."""


def run_failing_document(demo: DemoContext, position: int) -> FailedDocument:
    """Insert the row without its file, wait for the dead letter, store the file, replay. Raises ClaimError."""
    upload = upload_of(LATE_FILE, demo.knowledge)
    event = DocumentIndexRequested(
        tenant_id=demo.knowledge.tenant_id, dataset_id=demo.knowledge.dataset_id, document_id=upload.document_id
    )
    demo.in_transaction(lambda session: add_documents(session, demo.knowledge, [upload], position), event)
    late = _wait_for_dead_letter(demo, event, upload)
    letter = _dead_letter(demo, event, upload)
    demo.run(demo.platform.storage.write(upload.key, upload.source.content))
    _replay(demo, letter)
    revived = demo.wait_for(lambda: _ended(demo, event, "success"), "the replayed delivery's success")
    document = demo.document(upload.document_id)
    check(condition=revived.replays == 1, message=f"the ledger counts {revived.replays} replays instead of 1")
    check(
        condition=document.indexing_status == "completed",
        message=f"after its replay the document is {document.indexing_status}, not completed",
    )
    demo.screen.done(f"the file is there, the dead letter was replayed: {LATE_FILE.name} is completed")
    return FailedDocument(upload, letter, ATTEMPTS, late)


def _wait_for_dead_letter(demo: DemoContext, event: DocumentIndexRequested, upload: Upload) -> float:
    """Show each attempt that the ledger records. Returns the largest delay of a retry in seconds."""
    shown = 0
    due: dict[int, datetime] = {}

    def dead() -> Execution | None:
        nonlocal shown
        execution = demo.execution(event.event_id, INDEXING)
        if execution is None:
            return None
        for entry in execution.history[shown:]:
            demo.screen.failure(f"attempt {entry['attempt']} of {ATTEMPTS}: {_short(upload, entry['error'])}")
        shown = len(execution.history)
        if execution.status == "retry" and execution.due_at is not None:
            due[execution.attempts] = execution.due_at
        return execution if execution.status == "failure" else None

    with demo.screen.status("waiting for its retries"):
        execution = demo.wait_for(dead, "the dead letter of a delivery whose file is missing")
    check(
        condition=execution.attempts == ATTEMPTS,
        message=f"it became a dead letter after {execution.attempts} attempts, not {ATTEMPTS}",
    )
    late = retry_delays(execution.history, due)
    check(condition=len(late) == ATTEMPTS - 1, message=f"only {len(late)} of {ATTEMPTS - 1} retries were observed")
    check(condition=min(late) >= 0, message=f"a retry ran {-min(late):.3f} s before it was due")
    check(condition=max(late) <= MAX_DELAY, message=f"a retry ran {max(late):.3f} s after it was due")
    demo.screen.done(f"no retry came early, the latest {max(late) * 1000:.0f} ms after it was due")
    return max(late)


def retry_delays(history: Sequence[dict[str, object]], due: Mapping[int, datetime]) -> list[float]:
    """Return the seconds from the due time of each retry to its start.

    The keys of `due` are the numbers of the failed runs before the retries.
    """
    began = {int(str(entry["attempt"])): datetime.fromisoformat(str(entry["started_at"])) for entry in history}
    return [(began[run + 1] - at).total_seconds() for run, at in due.items() if run + 1 in began]


def _dead_letter(demo: DemoContext, event: DocumentIndexRequested, upload: Upload) -> DeadLetter:
    """Return the dead letter, after checking that the document shows the reason."""
    with demo.engine.connect() as connection:
        letters = list_dead_letters(connection, DeadLetterFilter(event_id=event.event_id))
    check(condition=len(letters) == 1, message=f"there are {len(letters)} dead letters of the event, not one")
    document = demo.document(upload.document_id)
    check(
        condition=document.indexing_status == "error" and upload.key in (document.error or ""),
        message=f"the document is {document.indexing_status} ({document.error}), not error with its reason",
    )
    (letter,) = letters
    demo.screen.done(f"dead letter {letter.id}: {letter.reason} after {letter.attempts} attempts")
    demo.screen.done(f"{LATE_FILE.name} is {document.indexing_status}: “{_short(upload, document.error)}”")
    return letter


def _short(upload: Upload, error: object) -> str:
    """Shorten an error for the screen: the file's key without its folders."""
    return str(error).replace(upload.key, Path(upload.key).name)


def _replay(demo: DemoContext, letter: DeadLetter) -> None:
    """Replay the dead letter, as `streams dlq replay` does."""
    record = read_record(demo.settings, letter)
    with demo.engine.begin() as connection:
        replay(connection, demo.catalogue, letter, record, by="streams demo")


def _ended(demo: DemoContext, event: DocumentIndexRequested, status: str) -> Execution | None:
    execution = demo.execution(event.event_id, INDEXING)
    return execution if execution is not None and execution.status == status else None
