"""What Dify 1.9.2 itself does: three receivers, one task, and its Celery messages. None has any protection."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import blinker
from redis import Redis
from sqlalchemy import Engine, delete, select, text
from sqlalchemy.orm import Session

from streams.dify.models import (
    App,
    AppDatasetJoin,
    AppModelConfig,
    ChildChunk,
    DatasetMetadataBinding,
    DocumentSegment,
    InstalledApp,
    Model,
)
from streams.dify.models import Site as AppSite
from streams.dify.vector_stores.port import collection_name

QUEUE = "dataset"
CLEAN_DOCUMENT = "tasks.clean_document_task.clean_document_task"


def celery_message(name: str, *arguments: object) -> str:
    """Return a message of Celery's protocol 2, as kombu writes it to a list of Redis."""
    task_id = str(uuid4())
    options = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = base64.b64encode(json.dumps([arguments, {}, options]).encode()).decode()
    headers = {"lang": "py", "task": name, "id": task_id, "root_id": task_id, "retries": 0, "ignore_result": True}
    delivery = {"exchange": "", "routing_key": QUEUE}
    properties = {"correlation_id": task_id, "delivery_info": delivery, "delivery_tag": str(uuid4())}
    return json.dumps(
        {
            "body": body,
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": headers,
            "properties": {**properties, "body_encoding": "base64"},
        }
    )


class OwnWay:
    """The platform's receivers and its worker, on its database and its Redis."""

    def __init__(self, engine: Engine, redis: Redis, collection_prefix: str) -> None:
        self.engine = engine
        self.redis = redis
        self.collection_prefix = collection_prefix
        self.cleaned: list[str] = []
        """The documents that the platform's task has cleaned."""
        self._receivers: dict[str, Callable[..., None]] = {
            "app-was-created": self._install,
            "app-model-config-was-updated": self._join,
            "document-was-deleted": self._request_cleaning,
        }

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Connect the receivers."""
        for name, receiver in self._receivers.items():
            blinker.signal(name).connect(receiver, weak=False)
        try:
            yield
        finally:
            for name, receiver in self._receivers.items():
                blinker.signal(name).disconnect(receiver)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run a worker that takes messages from the list. At the end it takes what is left."""
        ended = threading.Event()
        thread = threading.Thread(target=self._work, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(60)
            assert not thread.is_alive(), "the platform's worker does not end"

    def _work(self, ended: threading.Event) -> None:
        while True:
            last_round = ended.is_set()
            taken = self.redis.brpop([QUEUE], timeout=1)
            if taken is not None:
                message = json.loads(cast("tuple[str, str]", taken)[1])
                assert message["headers"]["task"] == CLEAN_DOCUMENT
                arguments, _, _ = json.loads(base64.b64decode(message["body"]))
                self._clean_document(*arguments)
            elif last_round:
                return

    def _install(self, app: App, account: SimpleNamespace) -> None:
        """Do what create_installed_app and create_site_record do: insert, without a look at what is there."""
        self._insert(
            InstalledApp(tenant_id=app.tenant_id, app_id=app.id, app_owner_tenant_id=app.tenant_id, position=0)
        )
        self._insert(
            AppSite(
                app_id=app.id,
                title=app.name,
                default_language=account.interface_language,
                customize_token_strategy="not_allow",
                custom_disclaimer="",
                code=uuid4().hex[:16],
            )
        )

    def _join(self, app: App, app_model_config: AppModelConfig) -> None:
        """Do what update_app_dataset_join does: read, compare, write, without a lock."""
        tools = json.loads(app_model_config.agent_mode or "{}").get("tools", [])
        wanted = {tool["dataset"]["id"] for tool in tools}
        with Session(self.engine) as session, session.begin():
            known = {one.dataset_id: one for one in session.scalars(select(AppDatasetJoin).filter_by(app_id=app.id))}
            for dataset_id in known.keys() - wanted:
                session.delete(known[dataset_id])
            session.add_all(AppDatasetJoin(app_id=app.id, dataset_id=one) for one in wanted - known.keys())

    def _request_cleaning(self, document_id: str, dataset_id: str, doc_form: str, file_id: str | None) -> None:
        """Do what clean_when_document_deleted does: put a message on the list, before the sender commits."""
        self.redis.lpush(QUEUE, celery_message(CLEAN_DOCUMENT, document_id, dataset_id, doc_form, file_id))

    def _clean_document(self, document_id: str, dataset_id: str, _doc_form: str, _file_id: str | None) -> None:
        """Do what clean_document_task does, in its separate commits: vectors, segments, metadata."""
        with Session(self.engine) as session, session.begin():
            segments = session.scalars(select(DocumentSegment).filter_by(document_id=document_id)).all()
            nodes = [segment.index_node_id for segment in segments]
            table = f"embedding_{collection_name(self.collection_prefix, dataset_id)}".lower()[:63]
            if session.scalar(text("select to_regclass(:name)"), {"name": table}) is not None:
                session.execute(text(f"delete from {table} where id::text = any(:ids)"), {"ids": nodes})
        for model in (ChildChunk, DocumentSegment, DatasetMetadataBinding):
            with Session(self.engine) as session, session.begin():
                session.execute(delete(model).filter_by(document_id=document_id))
        self.cleaned.append(document_id)

    def _insert(self, row: Model) -> None:
        with Session(self.engine) as session, session.begin():
            session.add(row)
