"""The events of the platform's objects, without a database."""

import json
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from schemas import MessageCreated
from streams.codec import build_codec
from streams.publishing import BridgeError, connect_signals
from streams.publishing.bridges.platform_signals import (
    app_created,
    credits_by_model,
    dataset_deleted,
    document_deleted,
    message_created,
    platform_signals,
    tool_nodes,
)
from tests.support.factories import CATALOGUE, SETTINGS
from tests.support.platform.senders import (
    AgentChatAppGenerateEntity,
    AppConfig,
    ChatAppGenerateEntity,
    CompletionAppGenerateEntity,
    EasyUIBasedAppGenerateEntity,
    ModelConf,
    ProviderConfiguration,
    ProviderModelBundle,
    ProviderType,
    QuotaConfiguration,
    QuotaType,
    QuotaUnit,
    SystemConfiguration,
)

MESSAGE = SimpleNamespace(id="m1", app_id="a1", message_tokens=30, answer_tokens=70)
TOOL = {"provider_type": "builtin", "provider_id": "time", "provider_name": "time", "tool_name": "now"}


def charge(
    configuration: ProviderConfiguration | None = None, provider: str = "langgenius/openai/openai"
) -> MessageCreated:
    conf = ModelConf(provider, "gpt-4o", ProviderModelBundle(configuration or ProviderConfiguration()))
    entity = ChatAppGenerateEntity(AppConfig("a1", "t1"), conf)
    sent = {"application_generate_entity": entity}
    event = message_created(MESSAGE, sent, model_credits=credits_by_model("gpt-4:20, gpt-4o:10"))
    assert event is not None
    return event


def system(*quotas: QuotaConfiguration, current: QuotaType | None = QuotaType.TRIAL) -> ProviderConfiguration:
    return ProviderConfiguration(ProviderType.SYSTEM, SystemConfiguration(current, list(quotas)))


@pytest.mark.requirement("Bridges", "existing senders stay as they are: what they send is flattened here")
@pytest.mark.parametrize(
    ("kind", "charged"),
    [(ChatAppGenerateEntity, True), (AgentChatAppGenerateEntity, True), (CompletionAppGenerateEntity, False)],
)
def test_only_chats_and_agents_are_charged(kind: type[EasyUIBasedAppGenerateEntity], charged: bool) -> None:  # noqa: FBT001 - a parameter of the case
    sent = {"application_generate_entity": kind(AppConfig("a1", "t1"))}
    assert (message_created(MESSAGE, sent, model_credits=lambda _: 1) is not None) is charged


@pytest.mark.requirement("Bridges", "existing senders stay as they are: what they send is flattened here")
def test_a_message_has_all_that_its_charge_needs() -> None:
    """The quota is the one of the current type."""
    event = charge(
        system(
            QuotaConfiguration(QuotaType.PAID, QuotaUnit.TIMES, 5),
            QuotaConfiguration(QuotaType.TRIAL, QuotaUnit.TOKENS, 1000),
        )
    )
    assert event.model_dump(exclude={"event_id", "occurred_at"}) == {
        "tenant_id": "t1",
        "message_id": "m1",
        "app_id": "a1",
        "provider_name": "openai",
        "provider_name_long": "langgenius/openai/openai",
        "model": "gpt-4o",
        "provider_type": "system",
        "quota_type": "trial",
        "quota_unit": "tokens",
        "quota_limit": 1000,
        "message_tokens": 30,
        "answer_tokens": 70,
        "credits": None,
    }


def test_credits_are_those_of_the_model() -> None:
    assert charge(system(QuotaConfiguration(quota_unit=QuotaUnit.CREDITS))).credits == 10
    assert charge(system(QuotaConfiguration(quota_unit=QuotaUnit.TIMES))).credits is None


@pytest.mark.parametrize(
    "configuration",
    [
        ProviderConfiguration(ProviderType.CUSTOM, SystemConfiguration()),
        ProviderConfiguration(ProviderType.SYSTEM, None),
        system(QuotaConfiguration(), current=None),
    ],
    ids=["a tenant's own key", "no system provider", "no quota counts"],
)
def test_where_no_quota_counts_only_the_use_is_noted(configuration: ProviderConfiguration) -> None:
    event = charge(configuration)
    assert (event.quota_type, event.quota_unit, event.quota_limit) == (None, None, None)


def test_a_quota_without_a_configuration_charges_nothing() -> None:
    event = charge(system(QuotaConfiguration(QuotaType.PAID)))
    assert (event.quota_type, event.quota_unit) == ("trial", None)


def test_a_provider_of_one_name_has_no_other() -> None:
    event = charge(provider="openai")
    assert (event.provider_name, event.provider_name_long) == ("openai", None)


@pytest.mark.parametrize("configured", ["", "gpt-4", "gpt-4:20", " gpt-4 : 20 , ft:gpt-4o:7"])
def test_a_model_that_is_not_configured_costs_one(configured: str) -> None:
    credits_of = credits_by_model(configured)
    assert credits_of("other") == 1
    assert credits_of("gpt-4") == (20 if "20" in configured else 1)
    assert credits_of("ft:gpt-4o") == (7 if "ft" in configured else 1)


def test_credits_that_are_no_number_are_refused() -> None:
    with pytest.raises(BridgeError, match="HOSTED_MODEL_CREDIT_CONFIG is not model:credits"):
        credits_by_model("gpt-4:many")


def test_an_app_without_an_account_gets_no_site() -> None:
    event = app_created(SimpleNamespace(id="a1", tenant_id="t1"), {"account": None})
    assert (event.account_id, event.interface_language) == (None, None)


def test_a_dataset_that_says_nothing_of_itself_is_cleaned_up() -> None:
    """The platform sends no clean-up if form or technique is empty."""
    bare = dict.fromkeys(("indexing_technique", "index_struct", "collection_binding_id", "doc_form", "pipeline_id"))
    event = dataset_deleted(SimpleNamespace(id="d1", tenant_id="t1", **bare), {})
    assert event.model_dump(include={"dataset_id", "tenant_id", *bare}) == {
        "dataset_id": "d1",
        "tenant_id": "t1",
        **bare,
    }


@pytest.mark.requirement("The whole domain", "dataset.deleted has the pipeline of its dataset")
def test_a_dataset_of_a_pipeline_tells_it() -> None:
    names = ("indexing_technique", "index_struct", "collection_binding_id", "doc_form")
    dataset = SimpleNamespace(id="d1", tenant_id="t1", pipeline_id="p1", **dict.fromkeys(names))
    assert dataset_deleted(dataset, {}).pipeline_id == "p1"


def test_a_document_without_a_form_is_text() -> None:
    assert document_deleted("x", {"dataset_id": "d1", "doc_form": None, "file_id": ""}).doc_form == "text_model"


@pytest.mark.requirement("Bridges", "existing senders stay as they are: what they send is flattened here")
def test_tool_nodes_are_those_that_call_a_tool() -> None:
    """A tool node without all its names has no cache."""
    nodes = [
        {"id": "n1", "data": {"type": "tool", **TOOL, "title": "more than is needed"}},
        {"id": "n2", "data": {"type": "llm"}},
        {"id": "n3", "data": {"type": "tool", **TOOL, "tool_name": ""}},
        {"id": "n4"},
        "no node",
    ]
    assert tool_nodes(json.dumps({"nodes": nodes})) == [{"node_id": "n1", **TOOL}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "data", "type", "x"]), inner),
    max_leaves=12,
)


@given(JSON)
def test_any_nodes_are_read(nodes: object) -> None:
    """A draft is whatever a person has built so far."""
    for node in tool_nodes(json.dumps({"nodes": nodes})):
        assert set(node) == {"node_id", *TOOL}


@pytest.mark.parametrize("graph", ["", "[]", "no json", "[" * 100_000])
def test_a_graph_that_is_none_is_told(graph: str) -> None:
    with pytest.raises(BridgeError, match="the workflow's graph is not a JSON object"):
        tool_nodes(graph)


def test_a_class_of_another_shape_is_told() -> None:
    with pytest.raises(BridgeError, match="SimpleNamespace has no tenant_id: the platform's classes are not those"):
        app_created(SimpleNamespace(id="a1"), {})
    with pytest.raises(BridgeError, match=r"SimpleNamespace\.tenant_id is empty"):
        app_created(SimpleNamespace(id="a1", tenant_id=None), {})


def test_blinker_is_asked_for_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing works without it. The error on connecting names the extra."""
    monkeypatch.setitem(sys.modules, "blinker", None)
    with pytest.raises(BridgeError, match="blinker is not installed: install the extra `bridges`"):
        connect_signals(Session, codec=build_codec(SETTINGS, CATALOGUE))


@pytest.mark.requirement(
    "Bridges",
    "`connect_signals(...)` listens to the platform's ten signals by their wire names",
)
def test_there_are_ten() -> None:
    """By the names in the platform's modules."""
    assert {signal.name for signal in platform_signals(lambda _: 1)} == {
        "app-was-created",
        "app-model-config-was-updated",
        "app-published-workflow-was-updated",
        "app-draft-workflow-was-synced",
        "dataset-was-deleted",
        "document-was-deleted",
        "document-index-created",
        "message-was-created",
        "tenant-was-created",
        "tenant-was-updated",
    }
