"""Documents of a dataset as the platform's upload leaves them, and the requests that follow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from benchmarks.environment import Plot, wait_until
from schemas import DocumentIndexRequested
from streams.codec import build_codec
from streams.local.demo.documents import SourceFile
from streams.local.demo.rows import Upload, add_dataset, add_documents, upload_of
from streams.local.demo.stage import Knowledge
from streams.publishing import EventProducer
from streams.topics import load_catalogue

_STORED = "select count(*) from documents where dataset_id = :dataset and indexing_status = 'completed'"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A dataset and its waiting documents, whose files are in the storage."""

    plot: Plot
    knowledge: Knowledge
    uploads: tuple[Upload, ...]

    def request(self, uploads: Sequence[Upload]) -> None:
        """Publish a request for each."""
        events = (
            DocumentIndexRequested(
                tenant_id=self.knowledge.tenant_id,
                dataset_id=self.knowledge.dataset_id,
                document_id=upload.document_id,
            )
            for upload in uploads
        )
        codec = build_codec(self.plot.settings, load_catalogue(self.plot.settings))
        with EventProducer(self.plot.settings, codec=codec) as producer:
            producer.publish_many(events)

    def completed(self) -> int:
        """Documents that are completed."""
        return self.plot.scalar(_STORED, dataset=self.knowledge.dataset_id)

    def wait(self, documents: int, seconds: float) -> None:
        """Until so many are completed. Raises TimeoutError."""
        wait_until(lambda: self.completed() >= documents, f"{documents} completed documents", seconds)

    def check(self) -> None:
        """Raise RuntimeError where the dataset's vectors are not those of its segments."""
        segments, vectors = self.segments(), self.vectors()
        if segments != vectors:
            message = f"there are {segments} segments and {vectors} vectors"
            raise RuntimeError(message)

    def segments(self) -> int:
        """Segments of the dataset."""
        return self.plot.scalar(
            "select count(*) from document_segments where dataset_id = :dataset", dataset=self.knowledge.dataset_id
        )

    def vectors(self) -> int:
        """Rows of the dataset's collection."""
        name = f"embedding_vector_index_{self.knowledge.dataset_id.replace('-', '_')}_node"[:63]
        return self.plot.scalar(f"select count(*) from {name}")  # noqa: S608 - made of a UUID


def fill_shelf(plot: Plot, files: Iterable[SourceFile]) -> Shelf:
    """A new dataset with these files as its documents."""
    knowledge = Knowledge()
    storage = plot.folder / "storage"
    uploads = []
    for file in files:
        upload = upload_of(file, knowledge)
        path = storage / upload.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        # What is in the storage is not kept here too.
        uploads.append(Upload(SourceFile(file.name, b""), upload.document_id, upload.file_id, upload.key))
    with Session(plot.engine) as session, session.begin():
        add_dataset(session, knowledge)
        add_documents(session, knowledge, uploads)
    return Shelf(plot, knowledge, tuple(uploads))
