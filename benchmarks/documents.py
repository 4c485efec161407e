"""Creates the documents of a dataset as the platform's upload does, and publishes their requests."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from benchmarks.environment import Sandbox, wait_until
from schemas import DocumentIndexRequested
from streams.codec import build_codec
from streams.local.demo.context import KnowledgeBase
from streams.local.demo.documents import SourceFile
from streams.local.demo.rows import Upload, add_dataset, add_documents, upload_of
from streams.publishing import EventProducer
from streams.topics import load_catalogue

_STORED = "select count(*) from documents where dataset_id = :dataset and indexing_status = 'completed'"


@dataclass(frozen=True, slots=True)
class DocumentSet:
    """A dataset and its waiting documents, whose files are in the storage."""

    sandbox: Sandbox
    knowledge: KnowledgeBase
    uploads: tuple[Upload, ...]

    def request(self, uploads: Sequence[Upload]) -> None:
        """Publish one request per document."""
        events = (
            DocumentIndexRequested(
                tenant_id=self.knowledge.tenant_id,
                dataset_id=self.knowledge.dataset_id,
                document_id=upload.document_id,
            )
            for upload in uploads
        )
        codec = build_codec(self.sandbox.settings, load_catalogue(self.sandbox.settings))
        with EventProducer(self.sandbox.settings, codec=codec) as producer:
            producer.publish_many(events)

    def completed(self) -> int:
        """Return the number of completed documents."""
        return self.sandbox.scalar(_STORED, dataset=self.knowledge.dataset_id)

    def wait(self, documents: int, seconds: float) -> None:
        """Wait until this number of documents is completed. Raises TimeoutError."""
        wait_until(lambda: self.completed() >= documents, f"{documents} completed documents", seconds)

    def check(self) -> None:
        """Raise RuntimeError if the numbers of segments and vectors differ."""
        segments, vectors = self.segments(), self.vectors()
        if segments != vectors:
            message = f"there are {segments} segments and {vectors} vectors"
            raise RuntimeError(message)

    def segments(self) -> int:
        """Return the number of segments of the dataset."""
        return self.sandbox.scalar(
            "select count(*) from document_segments where dataset_id = :dataset", dataset=self.knowledge.dataset_id
        )

    def vectors(self) -> int:
        """Return the number of rows of the dataset's collection."""
        name = f"embedding_vector_index_{self.knowledge.dataset_id.replace('-', '_')}_node"[:63]
        return self.sandbox.scalar(f"select count(*) from {name}")  # noqa: S608 - made of a UUID


def create_documents(sandbox: Sandbox, files: Iterable[SourceFile]) -> DocumentSet:
    """Create a dataset with these files as its documents."""
    knowledge = KnowledgeBase()
    storage = sandbox.folder / "storage"
    uploads = []
    for file in files:
        upload = upload_of(file, knowledge)
        path = storage / upload.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        # The content is in the storage, so it is not kept in memory.
        uploads.append(Upload(SourceFile(file.name, b""), upload.document_id, upload.file_id, upload.key))
    with Session(sandbox.engine) as session, session.begin():
        add_dataset(session, knowledge)
        add_documents(session, knowledge, uploads)
    return DocumentSet(sandbox, knowledge, tuple(uploads))
