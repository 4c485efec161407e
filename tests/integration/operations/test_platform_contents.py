"""`streams doctor` before a switch: what the platform's rows need, and whether the mail server accepts a session."""

from contextlib import closing
from uuid import uuid4

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from streams.dify.models.columns import Model
from streams.dify.models.datasets.dataset import Dataset
from streams.dify.models.datasets.document import Document
from streams.operations.doctor.contents import examine_contents
from streams.operations.doctor.finding import Finding
from streams.operations.doctor.mail import examine_mail
from streams.operations.doctor.services import examine_celery
from streams.settings import Settings
from tests.support.fakes.mail_server import mail_server
from tests.support.platform.app_rows import make_row
from tests.support.processes.worker_process import free_port

SECTION = "The whole domain"
TENANT = str(uuid4())


def dataset(**columns: object) -> Model:
    return make_row(Dataset, tenant_id=TENANT, indexing_technique="high_quality", **columns)


def document(source: str, info: str | None = None) -> Model:
    return make_row(Document, tenant_id=TENANT, data_source_type=source, data_source_info=info)


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine_contents(settings)}


@pytest.mark.requirement(SECTION, "doctor: models, stores and sources that the platform's rows need")
def test_what_the_rows_need_is_compared_with_the_settings(settings: Settings, engine: Engine) -> None:
    """What is not configured is a warning with numbers. The same rows pass once the settings have it."""
    assert {finding.state for finding in findings(settings).values()} == {"ok"}
    pgvector, weaviate = '{"type": "pgvector"}', '{"type":"weaviate", "vector_store": {}}'
    with Session(engine) as session, session.begin():
        session.add_all(
            [
                dataset(embedding_model_provider=None, embedding_model=None, index_struct=pgvector),
                dataset(embedding_model_provider="x/openai", embedding_model="ada", index_struct=pgvector),
                dataset(embedding_model_provider="x/openai", embedding_model="ada", index_struct=weaviate),
                document("upload_file", '{"upload_file_id": "x"}'),
                document("notion_import", "{}"),
                document("website_crawl", '{"provider": "firecrawl", "url": "u"}'),
                document("website_crawl", '{"provider": "jinareader", "url": "u"}'),
                document("online_drive", "not JSON"),
            ]
        )
    found = findings(settings)
    assert {finding.state for finding in found.values()} == {"warning"}
    assert "ada of x/openai (2 datasets)" in found["embedding models"].text
    assert found["vector stores"].text == "not pgvector: weaviate (1 datasets)"
    wrong = found["sources"].text
    assert "jina" not in wrong
    assert "upload_file" not in wrong
    for name in ("notion_import (1 documents)", "firecrawl (1 documents)", "online_drive (1 documents)"):
        assert name in wrong
    known = Settings.model_validate(
        {
            **settings.model_dump(),
            "embedding_url": "http://127.0.0.1:1/v1",
            "embedding_provider": "x/openai",
            "embedding_model": "ada",
            "notion_token": "secret_t",
            "firecrawl_key": "k",
        }
    )
    found = findings(known)
    assert found["embedding models"].state == "ok"
    assert found["sources"].text == "no reader or no key: online_drive (1 documents)"


@pytest.mark.requirement(SECTION, "doctor: Celery queues that are not drained")
def test_celery_queues_that_are_not_drained_are_named(settings: Settings) -> None:
    """Only with the broker's URL. Tasks of any queue count."""
    assert examine_celery(settings) == []
    url = settings.redis_url.get_secret_value()
    other = url.rsplit("/", 1)[0] + "/9"
    known = settings.model_copy(update={"celery_broker_url": SecretStr(other)})
    with closing(Redis.from_url(other)) as broker:
        broker.flushdb()
        assert [finding.state for finding in examine_celery(known)] == ["ok"]
        broker.lpush("dataset", "{}", "{}")
        broker.lpush("priority_pipeline", "{}")
        (finding,) = examine_celery(known)
        broker.flushdb()
    assert (finding.state, finding.text) == ("warning", "not drained: dataset (2 tasks), priority_pipeline (1 tasks)")
    away = settings.model_copy(update={"celery_broker_url": SecretStr(f"redis://127.0.0.1:{free_port()}/0")})
    assert [finding.state for finding in examine_celery(away)] == ["warning"]


@pytest.mark.requirement(SECTION, "doctor: the mail server accepts a session, and gets no mail")
def test_the_mail_server_is_asked_for_a_session() -> None:
    assert examine_mail(Settings()).state == "ok"
    with mail_server() as (server, port):
        server.password = "right"
        account = {"mail_from": "a@example.com", "mail_smtp_username": "streams"}
        good: dict[str, object] = {"mail_type": "smtp", "mail_smtp_port": port, **account}
        asked = examine_mail(Settings.model_validate({**good, "mail_smtp_password": "right"}))
        assert asked.state == "ok", asked.text
        refused = examine_mail(Settings.model_validate({**good, "mail_smtp_password": "pw-7c1"}))
        assert (refused.state, "password" in refused.text) == ("fail", True)
        assert "pw-7c1" not in refused.text
        assert server.received == []
    away = examine_mail(Settings.model_validate({**good, "mail_smtp_port": free_port()}))
    assert (away.state, "does not answer" in away.text) == ("fail", True)
    lacking = examine_mail(Settings.model_validate({"mail_type": "resend", "mail_from": "a@example.com"}))
    assert (lacking.state, "STREAMS_MAIL_RESEND_KEY" in lacking.text) == ("fail", True)
