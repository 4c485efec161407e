"""A document whose file is absent: through its retries into the DLQ, and back once the file is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from schemas import DocumentIndexRequested
from streams.local.demo.claims import claim
from streams.local.demo.documents import LATE
from streams.local.demo.index import INDEXING
from streams.local.demo.rows import Upload, add_documents, upload_of
from streams.local.demo.servers import ATTEMPTS
from streams.local.demo.stage import Execution, Stage
from streams.operations.dead_letters.index import DeadLetter, DeadLetterFilter, list_dead_letters
from streams.operations.dead_letters.records import read_records
from streams.operations.dead_letters.replay import replay

LATE_BY_MOST = 1.0
"""Seconds: what the pipeline promises of a retry on an idle worker."""


@dataclass(frozen=True, slots=True)
class DiedAndBack:
    """What happened to the document."""

    upload: Upload
    letter: DeadLetter
    attempts: int
    """Runs before it died."""
    late: float
    """Seconds by which the latest retry ran after it was due."""


def let_one_fail(stage: Stage, position: int) -> DiedAndBack:
    """Publish the row without its file, watch it die, put the file there, replay. Raises ClaimError."""
    upload = upload_of(LATE, stage.knowledge)
    event = DocumentIndexRequested(
        tenant_id=stage.knowledge.tenant_id, dataset_id=stage.knowledge.dataset_id, document_id=upload.document_id
    )
    stage.in_transaction(lambda session: add_documents(session, stage.knowledge, [upload], position), event)
    late = _watch_it_die(stage, event, upload)
    letter = _dead_letter(stage, event, upload)
    stage.run(stage.platform.storage.write(upload.key, upload.source.content))
    _replay(stage, letter)
    revived = stage.wait_for(lambda: _ended(stage, event, "success"), "the replayed delivery's success")
    document = stage.document(upload.document_id)
    claim(holds=revived.replays == 1, otherwise=f"the ledger counts {revived.replays} replays instead of 1")
    claim(
        holds=document.indexing_status == "completed",
        otherwise=f"after its replay the document is {document.indexing_status}, not completed",
    )
    stage.screen.done(f"the file is there, the dead letter was replayed: {LATE.name} is completed")
    return DiedAndBack(upload, letter, ATTEMPTS, late)


def _watch_it_die(stage: Stage, event: DocumentIndexRequested, upload: Upload) -> float:
    """Show each attempt as the ledger gets it; returns by how many seconds the latest of the retries was late."""
    shown = 0
    due: dict[int, datetime] = {}

    def dead() -> Execution | None:
        nonlocal shown
        execution = stage.execution(event.event_id, INDEXING)
        if execution is None:
            return None
        for entry in execution.history[shown:]:
            stage.screen.trouble(f"attempt {entry['attempt']} of {ATTEMPTS}: {_short(upload, entry['error'])}")
        shown = len(execution.history)
        if execution.status == "retry" and execution.due_at is not None:
            due[execution.attempts] = execution.due_at
        return execution if execution.status == "failure" else None

    with stage.screen.status("waiting for its retries"):
        execution = stage.wait_for(dead, "the death of a delivery whose file is absent")
    claim(
        holds=execution.attempts == ATTEMPTS, otherwise=f"it died after {execution.attempts} attempts, not {ATTEMPTS}"
    )
    late = lateness(execution.history, due)
    claim(holds=len(late) == ATTEMPTS - 1, otherwise=f"only {len(late)} of {ATTEMPTS - 1} retries were seen waiting")
    claim(holds=min(late) >= 0, otherwise=f"a retry ran {-min(late):.3f} s before it was due")
    claim(holds=max(late) <= LATE_BY_MOST, otherwise=f"a retry ran {max(late):.3f} s after it was due")
    stage.screen.done(f"no retry came early, the latest {max(late) * 1000:.0f} ms after it was due")
    return max(late)


def lateness(history: Sequence[dict[str, object]], due: Mapping[int, datetime]) -> list[float]:
    """Seconds between when each retry was due, by the number of the failed run before it, and when it ran."""
    began = {int(str(entry["attempt"])): datetime.fromisoformat(str(entry["started_at"])) for entry in history}
    return [(began[run + 1] - at).total_seconds() for run, at in due.items() if run + 1 in began]


def _dead_letter(stage: Stage, event: DocumentIndexRequested, upload: Upload) -> DeadLetter:
    """The dead letter, and the document that says why it was given up."""
    with stage.engine.connect() as connection:
        letters = list_dead_letters(connection, DeadLetterFilter(event_id=event.event_id))
    claim(holds=len(letters) == 1, otherwise=f"there are {len(letters)} dead letters of the event, not one")
    document = stage.document(upload.document_id)
    claim(
        holds=document.indexing_status == "error" and upload.key in (document.error or ""),
        otherwise=f"the document is {document.indexing_status} ({document.error}), not error with its reason",
    )
    (letter,) = letters
    stage.screen.done(f"dead letter {letter.id}: {letter.reason} after {letter.attempts} attempts")
    stage.screen.done(f"{LATE.name} is {document.indexing_status}: “{_short(upload, document.error)}”")
    return letter


def _short(upload: Upload, error: object) -> str:
    """An error for the screen: the file's key without its folders."""
    return str(error).replace(upload.key, Path(upload.key).name)


def _replay(stage: Stage, letter: DeadLetter) -> None:
    """What `streams dlq replay` does."""
    for _, record in read_records(stage.settings, [letter]):
        claim(holds=record is not None, otherwise=f"Kafka no longer has the record of {letter.id}")
        if record is not None:
            with stage.engine.begin() as connection:
                replay(connection, stage.catalogue, letter, record)


def _ended(stage: Stage, event: DocumentIndexRequested, status: str) -> Execution | None:
    execution = stage.execution(event.event_id, INDEXING)
    return execution if execution is not None and execution.status == status else None
