"""The disk of the storage is full while documents with images are indexed; later it has free space again.

Expected: the storage's circuit breaker opens, so work on documents waits, without counting an attempt. No partly
written file is left, and clean-up continues. With free space, each document is completed at its first counted attempt.
(Needs `unshare`: only the worker sees the small disk.)
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from schemas import DocumentDeleted, DocumentIndexRequested
from streams.dify.models import Document
from streams.settings import Settings
from tests.support.faults.assertions import stop_cleanly
from tests.support.faults.group_protocols import both_protocols
from tests.support.platform.document_files import png, word
from tests.support.platform.handler_runs import open_site, prose
from tests.support.processes.worker_process import Streams, WorkerProcess, publish, rows, wait_for

MakeWorker = Callable[..., WorkerProcess]
SMALL_DISK = 'cp -r "$0" "$0.copy" && mount -t tmpfs -o size=4m tmpfs "$0" && cp -r "$0.copy/." "$0" && exec "$@"'
PICTURES = 3


@pytest.mark.requirement("Faults and operations", "a full disk for storage, both protocols")
@pytest.mark.timeout(180)
@both_protocols
async def test_documents_wait_for_free_space(
    topics: Settings, engine: Engine, worker: MakeWorker, streams: Streams, database_url: str, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    async with open_site(database_url, storage) as site:
        dataset = await site.add_dataset()
        pictured = [
            await site.add_document(
                dataset, word(pictures=tuple(png(shade + 10 * number) for shade in range(PICTURES))), name="a.docx"
            )
            for number in range(4)
        ]
        plain = [await site.add_document(dataset, prose(5)) for _ in range(4)]
    prefix = ("unshare", "--map-root-user", "--mount", "sh", "-c", SMALL_DISK, str(storage))
    one = worker(prefix=prefix).start()
    assert one.process is not None
    disk = Path(f"/proc/{one.process.pid}/root{storage}")
    files = names_in(disk)
    fill(disk / "filler")

    publish(topics, [request(document) for document in (*pictured, *plain)])
    wait_for(lambda: open_breakers(streams) == ["storage"], "the breaker to open", 60)
    publish(topics, [DocumentDeleted(document_id=str(uuid4()), dataset_id=str(uuid4()), doc_form="text_model")])
    cleaned = "select 1 from streams.executions where handler = 'clean-document' and status = 'success'"
    wait_for(lambda: rows(engine, cleaned), "work that needs no storage", 60)
    assert names_in(disk) == {*files, "filler"}

    (disk / "filler").unlink()
    wait_for(lambda: completed(engine) == len(pictured) + len(plain), "all documents", 60)
    images = rows(engine, "select key from upload_files where extension = 'png'")
    assert len(images) == PICTURES * len(pictured)
    assert all((disk / str(row["key"])).stat().st_size for row in images)
    assert rows(engine, "select 1 from streams.executions where attempts <> 1") == []
    assert open_breakers(streams) == []
    stop_cleanly(one)


def names_in(folder: Path) -> set[str]:
    """Return the names of all files in a folder."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


def fill(file: Path) -> None:
    """Fill the disk."""
    with file.open("wb", buffering=0) as filler:
        for size in (65_536, 4_096, 1):
            with suppress(OSError):  # No space left on device
                while True:
                    filler.write(b"\0" * size)


def open_breakers(streams: Streams) -> list[object]:
    """Return the dependencies whose circuit breaker is not closed."""
    found = streams.json("breakers")
    assert isinstance(found, list)
    return [row["dependency"] for row in found if row["state"] != "closed"]


def request(document: Document) -> DocumentIndexRequested:
    """Return a request to index the document."""
    return DocumentIndexRequested(tenant_id=document.tenant_id, dataset_id=document.dataset_id, document_id=document.id)


def completed(engine: Engine) -> int:
    """Return the number of indexed documents."""
    return len(rows(engine, "select 1 from documents where indexing_status = 'completed'"))
