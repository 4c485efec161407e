"""Runs pipelines with the platform's own functions, for `pipeline_blueprint`, in the platform's own process."""

import importlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from flask import Flask
from werkzeug.exceptions import NotFound

from streams.publishing.bridges.pipeline_blueprint import Refused, Runs

FAILED = "error"
"""The status of a document that the platform has given up."""


RetryFunction = Callable[[str, list[str], str], object]
"""Takes the dataset, the documents and the account."""


class RunFailedError(Exception):
    """The platform has recorded a failure in the document's row."""

    __module__ = "streams.publishing.bridges.platform_pipelines"


class PlatformPipelines:
    """The pipelines of Dify 1.9.2. Its modules are imported at the first run."""

    def __init__(self, app: Flask, retry_documents: RetryFunction | None = None) -> None:
        """Run in the contexts of an app.

        Args:
            app: The platform's app.
            retry_documents: The function of the task retry_document_indexing_task. None: the name in its module. Give
                the function if a bridge has taken its place there.
        """
        self._app = app
        self._retry_documents = retry_documents

    def runs_of_file(self, tenant_id: str, file_id: str) -> Runs:
        """Return one run per entity of the file. Raises Refused if one of them is another tenant's."""
        tasks = _platform("tasks.rag_pipeline.rag_pipeline_run_task")
        with self._app.app_context():
            files = _platform("services.file_service").FileService(_platform("extensions.ext_database").db.engine)
            try:
                entities = json.loads(files.get_file_content(file_id))
            except NotFound as error:
                message = f"file {file_id} does not exist"
                raise Refused(message) from error
        for entity in entities:
            if str(UUID(entity["tenant_id"])) != tenant_id:
                message = f"file {file_id} lists a run of another tenant"
                raise Refused(message)
        return {
            str(number): partial(tasks.run_single_rag_pipeline_task, entity, self._app)
            for number, entity in enumerate(entities)
        }

    def retries_of_documents(self, tenant_id: str, dataset_id: str, document_ids: Sequence[str]) -> Runs:
        """Return one run per document that exists. Raises Refused if the dataset is another tenant's."""
        with self._app.app_context():
            models, session = _platform("models.dataset"), _platform("extensions.ext_database").db.session
            dataset = session.get(models.Dataset, dataset_id)
            if dataset is not None and str(UUID(str(dataset.tenant_id))) != tenant_id:
                message = f"dataset {dataset_id} belongs to another tenant"
                raise Refused(message)
        return {id_: partial(self._retry, dataset_id, id_) for id_ in document_ids} if dataset is not None else {}

    def _retry(self, dataset_id: str, document_id: str) -> None:
        """Call the platform's task as a function: it deletes what is left of the last run, then runs the pipeline."""
        retry = self._retry_documents or (_platform("tasks.retry_document_indexing_task").retry_document_indexing_task)
        with self._app.app_context():
            models, session = _platform("models.dataset"), _platform("extensions.ext_database").db.session
            document = session.get(models.Document, document_id)
            if document is None or str(document.dataset_id) != dataset_id:
                return
            retry(dataset_id, [document_id], str(document.created_by))
            session.expire_all()
            document = session.get(models.Document, document_id)
            if document is not None and document.indexing_status == FAILED:
                message = f"document {document_id} has failed"
                raise RunFailedError(message)


def _platform(module: str) -> Any:  # noqa: ANN401 - the platform's modules have no types here
    return importlib.import_module(module)
