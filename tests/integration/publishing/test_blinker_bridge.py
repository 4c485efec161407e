"""Each of the platform's ten signals, sent before its sender's commit, after it, and before a rollback."""

import gc
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import blinker
import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from streams.codec import SchemaMissingError, build_codec, default_codec
from streams.dify.models import App, AppModelConfig, Dataset, Message, Tenant, Workflow
from streams.publishing import BridgeError, connect_signals
from streams.publishing.bridges import blinker as blinker_module
from streams.settings import Settings, load_settings
from streams.topics import load_catalogue
from tests.integration.conftest import Stack
from tests.support.platform.senders import (
    Account,
    AppConfig,
    ChatAppGenerateEntity,
)
from tests.support.processes.worker_process import rows
from tests.support.publisher import Senders, open_senders

TENANT, APP, DATASET, DOCUMENT, CONFIG, WORKFLOW = (str(uuid4()) for _ in range(6))
Sending = tuple[object, dict[str, object]]


@dataclass(frozen=True)
class Case:
    """One signal as the platform sends it."""

    signal: str
    rows: Callable[[Session], Sending]
    """Changes rows in the sender's session. Returns the sender and the arguments."""
    event: dict[str, object]
    """Fields of its event."""
    own: bool = False
    """It is published in its own transaction, whatever the sender's does."""
    elsewhere: bool = False
    """Its sender uses another session than the current one."""


def an_app(session: Session) -> App:
    app = App(id=APP, tenant_id=TENANT, name="a", mode="chat", enable_site=True, enable_api=True)
    session.add(app)
    session.flush()
    return app


def a_tenant(session: Session) -> Sending:
    tenant = Tenant(id=TENANT, name="t")
    session.add(tenant)
    return tenant, {}


def a_model_config(session: Session) -> Sending:
    config = AppModelConfig(id=CONFIG, app_id=APP)
    session.add(config)
    return an_app(session), {"app_model_config": config}


def a_workflow(session: Session, graph: str, **columns: object) -> Workflow:
    known = {"tenant_id": TENANT, "app_id": APP, "type": "workflow", "version": "draft", "created_by": TENANT}
    now = datetime.now(tz=UTC).replace(tzinfo=None)
    workflow = Workflow(**known, graph=graph, features="{}", updated_at=now, **columns)
    session.add(workflow)
    return workflow


def a_draft(session: Session) -> Sending:
    node = {"provider_type": "builtin", "provider_id": "time", "provider_name": "time", "tool_name": "now"}
    graph = {"nodes": [{"id": "n1", "data": {"type": "tool", **node}}, {"id": "n2", "data": {"type": "start"}}]}
    workflow = a_workflow(session, json.dumps(graph), id=WORKFLOW)
    return an_app(session), {"synced_draft_workflow": workflow}


def a_published_workflow(session: Session) -> Sending:
    """The app belongs to the request's session. The workflow is added to another one and has no id yet."""
    workflow = a_workflow(session, "{}")
    return SimpleNamespace(id=APP, tenant_id=TENANT), {"published_workflow": workflow}


def a_dataset(session: Session) -> Dataset:
    """It already exists."""
    if (known := session.get(Dataset, DATASET)) is None:
        known = Dataset(
            id=DATASET,
            tenant_id=TENANT,
            name="d",
            created_by=TENANT,
            indexing_technique="high_quality",
            pipeline_id=APP,
        )
        session.add(known)
        session.flush()
    return known


def a_deleted_dataset(session: Session) -> Sending:
    """The signal comes first, then the row is deleted. The row has not been written anywhere else."""
    dataset = a_dataset(session)
    session.delete(dataset)
    return dataset, {}


def a_deleted_document(session: Session) -> Sending:
    a_dataset(session)
    return DOCUMENT, {"dataset_id": DATASET, "doc_form": "text_model", "file_id": "file-1"}


def documents_to_index(session: Session) -> Sending:
    a_dataset(session)
    return DATASET, {"document_ids": [DOCUMENT]}


def make_message(session: Session) -> Sending:
    message = Message(
        id=str(uuid4()),
        app_id=APP,
        conversation_id=str(uuid4()),
        inputs={},
        query="q",
        message={},
        message_tokens=30,
        message_unit_price=Decimal(0),
        answer="a",
        answer_tokens=70,
        answer_unit_price=Decimal(0),
        currency="USD",
        from_source="api",
    )
    session.add(message)
    return message, {"application_generate_entity": ChatAppGenerateEntity(AppConfig(APP, TENANT))}


CASES = (
    Case(
        "app-was-created",
        lambda session: (an_app(session), {"account": Account()}),
        {"app_id": APP, "tenant_id": TENANT, "account_id": "account-1", "interface_language": "en-US"},
        own=True,
    ),
    Case(
        "app-model-config-was-updated",
        a_model_config,
        {"app_id": APP, "tenant_id": TENANT, "app_model_config_id": CONFIG},
        own=True,
    ),
    Case(
        "app-published-workflow-was-updated", a_published_workflow, {"app_id": APP, "tenant_id": TENANT}, elsewhere=True
    ),
    Case("app-draft-workflow-was-synced", a_draft, {"app_id": APP, "workflow_id": WORKFLOW}, own=True),
    Case(
        "dataset-was-deleted",
        a_deleted_dataset,
        {
            "dataset_id": DATASET,
            "tenant_id": TENANT,
            "indexing_technique": "high_quality",
            "doc_form": "qa_model",
            "pipeline_id": APP,
        },
    ),
    Case(
        "document-was-deleted",
        a_deleted_document,
        {"document_id": DOCUMENT, "dataset_id": DATASET, "doc_form": "text_model", "file_id": "file-1"},
    ),
    Case("document-index-created", documents_to_index, {"dataset_id": DATASET, "document_ids": [DOCUMENT]}, own=True),
    Case(
        "message-was-created",
        make_message,
        {"app_id": APP, "tenant_id": TENANT, "provider_name": "openai", "message_tokens": 30, "answer_tokens": 70},
        elsewhere=True,
    ),
    Case("tenant-was-created", a_tenant, {"tenant_id": TENANT}, own=True),
    Case("tenant-was-updated", a_tenant, {"tenant_id": TENANT}, own=True),
)
EACH_SIGNAL = pytest.mark.parametrize("case", CASES, ids=lambda case: case.signal)


@pytest.fixture(scope="module")
def opened(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Senders]:
    with open_senders(stack, template, tmp_path_factory.mktemp("senders")) as opened:
        yield opened


@pytest.fixture
def senders(opened: Senders, monkeypatch: pytest.MonkeyPatch) -> Iterator[Senders]:
    monkeypatch.setattr(Dataset, "doc_form", "qa_model", raising=False)  # a property on the platform
    yield opened
    opened.empty("apps", "tenants", "datasets", "documents", "messages", "app_model_configs", "workflows")


@pytest.fixture(scope="module", autouse=True)
def collected() -> None:
    """Delete the receivers of other modules' tests to which only weak references are left."""
    gc.collect()


@pytest.fixture
def connected(senders: Senders) -> Iterator[None]:
    bridge = connect_signals(senders.current, codec=senders.codec)
    yield
    bridge.disconnect()


def session_for(senders: Senders, case: Case) -> Session:
    """The sender's session. If it is a separate one, the current one is always open too, as after a login."""
    if case.elsewhere:
        senders.current().execute(select(Tenant)).all()
        return Session(senders.engine)
    return senders.current()


def tear_down(senders: Senders, session: Session) -> None:
    """The end of a request: nothing is committed after it."""
    session.close()
    senders.current.remove()


def send(case: Case, sending: Sending) -> None:
    sender, arguments = sending
    blinker.signal(case.signal).send(sender, **arguments)  # type: ignore[arg-type]  # none is an option of blinker


def check_event(case: Case, senders: Senders, *, at_once: bool) -> None:
    """There is one row with its fields, to be sent at once or one second later."""
    (found,) = senders.outbox()
    assert found.event.model_dump(include=set(case.event)) == case.event
    if at_once:
        assert found.wait is None
    else:
        assert found.wait is not None
        assert timedelta(seconds=1) <= found.wait < timedelta(seconds=2)


@pytest.mark.requirement(
    "Bridges",
    "`connect_signals(...)` listens to the platform's ten signals by their wire names",
)
@pytest.mark.requirement(
    "Bridges",
    "given the platform's session, it writes into its open transaction: no race before the commit",
)
@pytest.mark.requirement("Bridges", "each of the ten before commit, after commit and with a rollback")
@pytest.mark.usefixtures("connected")
@EACH_SIGNAL
def test_before_the_commit(senders: Senders, case: Case) -> None:
    """In the sender's transaction: visible with its commit. In its own transaction: visible, sent a second later."""
    session = session_for(senders, case)
    send(case, case.rows(session))
    assert len(senders.outbox()) == (1 if case.own else 0)
    session.commit()
    tear_down(senders, session)
    check_event(case, senders, at_once=not case.own)


@pytest.mark.requirement(
    "Bridges",
    "signals that some path sends after its commit: a transaction of their own, due one second later",
)
@pytest.mark.requirement("Bridges", "each of the ten before commit, after commit and with a rollback")
@pytest.mark.usefixtures("connected")
@EACH_SIGNAL
def test_after_the_commit(senders: Senders, case: Case) -> None:
    """There is no later commit: a signal sent now gets its own transaction, and is sent a second later."""
    session = session_for(senders, case)
    sending = case.rows(session)
    session.commit()
    send(case, sending)
    tear_down(senders, session)
    check_event(case, senders, at_once=False)


@pytest.mark.requirement(
    "Bridges",
    "given the platform's session, it writes into its open transaction: no race before the commit",
)
@pytest.mark.requirement(
    "Bridges",
    "signals that some path sends after its commit: a transaction of their own, due one second later",
)
@pytest.mark.requirement("Bridges", "each of the ten before commit, after commit and with a rollback")
@pytest.mark.usefixtures("connected")
@EACH_SIGNAL
def test_with_a_rollback(senders: Senders, case: Case) -> None:
    """Rows in the sender's transaction are not sent. Rows in their own transactions are."""
    session = session_for(senders, case)
    send(case, case.rows(session))
    session.rollback()
    tear_down(senders, session)
    if case.own:
        check_event(case, senders, at_once=False)
    else:
        assert senders.outbox() == []


@pytest.mark.requirement(
    "The whole domain", "the switch: while a receiver of the platform is connected, its handler works long after it"
)
@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("module", "minutes"),
    [
        ("events.event_handlers.create_site_record_when_app_created", 10),
        ("events.event_handlers.sync_of_a_later_version", 0),
        ("extension.create_site_record", 0),
    ],
)
def test_the_platform_s_receiver_has_time(senders: Senders, module: str, minutes: int) -> None:
    """It is connected after the bridge, weakly, as on the platform. It may work longer than a second."""

    def handle(_sender: object, **_arguments: object) -> None:
        """Do nothing."""

    handle.__module__ = module
    blinker.signal("app-was-created").connect(handle)
    session = senders.current()
    sending = CASES[0].rows(session)
    send(CASES[0], sending)
    session.commit()
    del handle
    gc.collect()
    send(CASES[0], sending)  # The receiver is taken off.
    tear_down(senders, session)
    waits = sorted(found.wait for found in senders.outbox() if found.wait is not None)
    for wait, expected in zip(waits, (0, minutes), strict=True):
        assert timedelta(minutes=expected) <= wait < timedelta(minutes=expected, seconds=2)


@pytest.mark.requirement(
    "Bridges",
    "what fails in the bridge fails in the sender; what is missing is found at the start",
)
@pytest.mark.usefixtures("connected")
def test_what_fails_in_the_bridge_fails_in_the_sender(senders: Senders) -> None:
    """No row is committed without its event. The line names the signal."""
    with Session(senders.engine) as session:
        message, _ = make_message(session)
        with pytest.raises(BridgeError, match="signal message-was-created: it was sent without application_generate"):
            blinker.signal("message-was-created").send(message)
    assert rows(senders.engine, "select 1 from messages") == []
    assert senders.outbox() == []


@pytest.mark.requirement("Bridges", "existing senders stay as they are: what they send is flattened here")
@pytest.mark.usefixtures("connected")
def test_the_tenant_of_a_document_is_looked_up(senders: Senders) -> None:
    """From its dataset, in the sender's transaction. A missing dataset or an invalid id leaves it empty."""
    session = senders.current()
    a_dataset(session)
    for dataset_id in (DATASET, str(uuid4()), "no uuid"):
        blinker.signal("document-was-deleted").send(DOCUMENT, dataset_id=dataset_id, doc_form="text_model")
    session.commit()
    assert [found.event.tenant_id for found in senders.outbox()] == [TENANT, None, None]


@pytest.mark.requirement("Bridges", "existing senders stay as they are: what they send is flattened here")
@pytest.mark.usefixtures("connected")
def test_an_id_that_the_database_gives_is_there(senders: Senders) -> None:
    session = senders.current()
    tenant = Tenant(name="t")
    session.add(tenant)
    blinker.signal("tenant-was-created").send(tenant)
    session.commit()
    assert senders.event().tenant_id == tenant.id


@pytest.mark.requirement(
    "Bridges",
    "`connect_signals(...)` listens to the platform's ten signals by their wire names",
)
def test_signals_are_connected_once(senders: Senders) -> None:
    """A second connection would publish two events. After `disconnect`, signals are free; a part can be chosen."""
    bridge = connect_signals(senders.current, codec=senders.codec, signals=["tenant-was-created"])
    with pytest.raises(BridgeError, match="tenant-was-created is already connected"):
        connect_signals(senders.current, codec=senders.codec)
    bridge.disconnect()
    bridge.disconnect()
    for case in CASES:
        assert not blinker.signal(case.signal).receivers
    with pytest.raises(BridgeError, match="no signal app-was-eaten; known signals are: app-was-created, "):
        connect_signals(senders.current, codec=senders.codec, signals=["app-was-eaten"])


@pytest.mark.requirement(
    "Bridges",
    "what fails in the bridge fails in the sender; what is missing is found at the start",
)
def test_a_schema_that_is_missing_is_found_at_the_start(senders: Senders, tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text('{"schemas": []}')
    bare = Settings(schema_registry_url=f"file:{tmp_path}")
    with pytest.raises(SchemaMissingError, match="streams schemas export"):
        connect_signals(senders.current, codec=build_codec(bare, load_catalogue(bare)))
    assert not blinker.signal("app-was-created").receivers


@pytest.fixture
def environments_codec(senders: Senders, settings: Settings) -> Iterator[None]:
    """The default codec is the one of the environment."""
    load_settings.cache_clear()
    default_codec.cache_clear()
    before, senders.codec = senders.codec, build_codec(settings, load_catalogue(settings))
    yield
    senders.codec = before
    load_settings.cache_clear()
    default_codec.cache_clear()


@pytest.mark.requirement("Bridges", "`init_app(app)` fits the platform's list of extensions")
@pytest.mark.usefixtures("environments_codec")
def test_it_is_an_extension_of_the_app(senders: Senders) -> None:
    """With the platform's session and credits. A second app replaces the first. One without a database is rejected."""
    app = Flask("platform")
    with pytest.raises(BridgeError, match="this app has no database"):
        blinker_module.init_app(app)
    app.config["HOSTED_MODEL_CREDIT_CONFIG"] = "gpt-4:20,gpt-4o:10"
    app.extensions["sqlalchemy"] = SimpleNamespace(session=senders.current)
    blinker_module.init_app(app)
    blinker_module.init_app(app)
    session = senders.current()
    message, arguments = make_message(session)
    quota = arguments["application_generate_entity"].model_conf.provider_model_bundle.configuration  # type: ignore[attr-defined]  # the stand-in's
    quota.system_configuration.quota_configurations[0].quota_unit = "credits"
    blinker.signal("message-was-created").send(message, **arguments)  # type: ignore[arg-type]  # as above
    session.commit()
    assert senders.event().model_dump()["credits"] == 10
    app.extensions[blinker_module.EXTENSION].disconnect()
