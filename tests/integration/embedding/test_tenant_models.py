"""Models of tenants behind the plugin daemon: with their own credential, and as their default."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import update

from streams.agents.knowledge.document_indexing import index_document
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.embedding.port import embed_with_retries
from streams.dify.errors import BusyError, EmbeddingError, RefusedError, RefusedTextError
from streams.dify.models import (
    Dataset,
    Document,
    Provider,
    ProviderCredential,
    ProviderModel,
    ProviderModelCredential,
    TenantDefaultModel,
)
from streams.dify.search import passages
from tests.support.fakes.embedding_server import DIMENSIONS
from tests.support.fakes.plugin_daemon import (
    DAEMON_KEY,
    PluginDaemonServer,
    daemon_error,
    plugin_daemon,
    provider_error,
)
from tests.support.platform.handler_runs import Site, open_site, prose
from tests.support.platform.provider_rows import make_provider
from tests.support.traces.tenant_key import ENCRYPTED_SECRET_KEY, PRIVATE_KEY, SECRET_KEY_OF_LANGFUSE

SECTION = "Embedding and loading"
DAEMON = "the tenant's own model and credential by the plugin daemon, and the tenant's default model"
MODEL = "text-embedding-3-small"
FULL = "langgenius/openai/openai"
CREDENTIAL = {"openai_api_key": ENCRYPTED_SECRET_KEY, "openai_api_base": "https://models.example.com"}
DECRYPTED = {**CREDENTIAL, "openai_api_key": SECRET_KEY_OF_LANGFUSE}


@pytest.fixture
def daemon() -> Iterator[PluginDaemonServer]:
    with plugin_daemon() as running:
        running.accepted = dict(DECRYPTED)
        yield running


@pytest.fixture
async def site(database_url: str, tmp_path: Path, daemon: PluginDaemonServer) -> AsyncIterator[Site]:
    more = {"plugin_daemon_url": daemon.url, "plugin_daemon_key": DAEMON_KEY, "embedding_batch": 2}
    async with open_site(database_url, tmp_path, **more) as opened:
        await opened.platform.storage.write(f"privkeys/{opened.tenant_id}/private.pem", PRIVATE_KEY.encode())
        yield opened


async def add_credential(site: Site, provider: str = FULL, **columns: object) -> ProviderCredential:
    config = columns.pop("config", json.dumps(CREDENTIAL))
    credential = ProviderCredential(
        id=str(uuid4()),
        tenant_id=site.tenant_id,
        provider_name=provider,
        credential_name="mine",
        encrypted_config=config,
    )
    custom = {"provider_type": "custom", "quota_type": "", "credential_id": credential.id, **columns}
    await site.add(credential, make_provider(site.tenant_id, provider_name=provider, **custom))
    return credential


async def indexed(site: Site, **dataset: object) -> Document:
    """Index a document of a dataset with this model. The text is new each time, so that nothing is cached."""
    named = {"embedding_model_provider": FULL, "embedding_model": MODEL, **dataset}
    document = await site.add_document(await site.add_dataset(**named), f"About {uuid4()}.".encode() + prose(5))
    await site.run(index_document, site.request(document))
    return document


@pytest.mark.requirement(SECTION, DAEMON)
@pytest.mark.parametrize("named", ["openai", FULL])
@pytest.mark.parametrize("stored", ["openai", FULL])
async def test_a_dataset_uses_the_tenant_s_model(
    site: Site, daemon: PluginDaemonServer, named: str, stored: str
) -> None:
    """With the decrypted credential, whichever form of the provider's name rows have. It is found by its texts."""
    await add_credential(site, stored)
    document = await indexed(site, embedding_model_provider=named)
    assert (await site.document(document.id)).indexing_status == "completed"
    texts = [segment.content for segment in await site.segments(document.id)]
    assert set(texts) <= set(daemon.texts)
    assert max(len(request["texts"]) for request in daemon.requests) == 2
    seen = {(one["tenant"], one["plugin"], one["provider"], one["model"], one["input_type"]) for one in daemon.requests}
    assert seen == {(site.tenant_id, "langgenius/openai", "openai", MODEL, "document")}
    async with site.transaction() as session:
        (best,) = await passages(session, site.platform, document.dataset_id, texts[2], 1)
    assert best.text == texts[2]


@pytest.mark.requirement(SECTION, DAEMON)
async def test_a_model_s_own_credential_goes_first(site: Site, daemon: PluginDaemonServer) -> None:
    """Only if it is of this model and valid."""
    await add_credential(site)
    own = {"openai_api_key": "plain text", "openai_organization": None}
    for model, valid in ((MODEL, True), ("another-model", False)):
        credential = ProviderModelCredential(
            id=str(uuid4()),
            tenant_id=site.tenant_id,
            provider_name=FULL,
            model_name=model,
            model_type="embeddings",
            credential_name="of the model",
            encrypted_config=json.dumps(own),
        )
        row = ProviderModel(
            id=str(uuid4()),
            tenant_id=site.tenant_id,
            provider_name=FULL,
            model_name=model,
            model_type="embeddings",
            is_valid=valid,
            credential_id=credential.id,
        )
        await site.add(credential, row)
    daemon.accepted = dict(own)
    await indexed(site)
    daemon.accepted = dict(DECRYPTED)
    await indexed(site, embedding_model="another-model")


@pytest.mark.requirement(SECTION, DAEMON)
async def test_the_tenant_s_default_is_used_without_a_name(site: Site, daemon: PluginDaemonServer) -> None:
    """Another type of model, or another tenant's default, counts as none: then it is the deployment's."""
    await add_credential(site)
    rows = [(site.tenant_id, "llm", "gpt-4"), (str(uuid4()), "embeddings", MODEL)]
    names = ("tenant_id", "model_type", "model_name")
    await site.add(
        *(TenantDefaultModel(id=str(uuid4()), provider_name=FULL, **dict(zip(names, row, strict=True))) for row in rows)
    )
    unnamed = {"embedding_model": None, "embedding_model_provider": None}
    await indexed(site, **unnamed)
    assert daemon.requests == []
    default = TenantDefaultModel(
        id=str(uuid4()), tenant_id=site.tenant_id, provider_name="openai", model_name=MODEL, model_type="embeddings"
    )
    await site.add(default)
    await indexed(site, **unnamed)
    assert {one["model"] for one in daemon.requests} == {MODEL}


@pytest.mark.requirement(SECTION, DAEMON)
async def test_no_credential_is_a_permanent_error(site: Site, daemon: PluginDaemonServer) -> None:
    """Nor one of the platform itself, one that is not valid, one of another tenant, or one that cannot be decrypted."""
    reason = (
        rf"^the embedding model '{MODEL}' of '{FULL}' is not configured: the tenant has no credential of its own "
        "for it, and a trial quota of the platform is not used$"
    )
    with pytest.raises(Permanent, match=reason):
        await indexed(site)
    credential = await add_credential(site, provider_type="system", quota_type="trial")
    await site.add(
        make_provider(
            site.tenant_id,
            provider_name=FULL,
            provider_type="custom",
            quota_type="",
            is_valid=False,
            credential_id=credential.id,
        )
    )
    await site.add(
        make_provider(
            str(uuid4()), provider_name=FULL, provider_type="custom", quota_type="", credential_id=credential.id
        )
    )
    with pytest.raises(Permanent, match=reason):
        await indexed(site)
    await site.delete(Provider, tenant_id=site.tenant_id)
    await add_credential(site, config="{broken")
    with pytest.raises(Permanent, match="is not the platform's JSON"):
        await indexed(site)
    with pytest.raises(Permanent, match="'a/b' is not the name of a provider"):
        await indexed(site, embedding_model_provider="a/b")
    assert daemon.requests == []


@pytest.mark.requirement(SECTION, DAEMON)
async def test_a_new_credential_is_used_at_the_next_attempt(site: Site, daemon: PluginDaemonServer) -> None:
    """The former one is rejected for good, in one line without the key. The next document has the new one."""
    credential = await add_credential(site)
    daemon.accepted = {"openai_api_key": "new"}
    with pytest.raises(Permanent) as failure:
        await indexed(site)
    assert str(failure.value) == f"the embedding model {MODEL} rejects the tenant's credential for langgenius/openai"
    async with site.transaction() as session:
        await session.execute(
            update(ProviderCredential)
            .where(ProviderCredential.id == credential.id)
            .values(encrypted_config=json.dumps(daemon.accepted))
        )
    await indexed(site)


@pytest.mark.requirement(SECTION, DAEMON)
@pytest.mark.parametrize(
    ("event", "kind", "reason"),
    [
        (provider_error("InvokeRateLimitError", "slow down"), BusyError, "asks for a pause"),
        (provider_error("InvokeServerUnavailableError", "down"), EmbeddingError, "failed: InvokeServerUnavailable"),
        (provider_error("CredentialsValidateFailedError", "no"), RefusedError, "rejects the tenant's credential"),
        (daemon_error("PluginNotFoundError", "no plugin"), RefusedError, "langgenius/openai is not installed"),
        (daemon_error("PluginDaemonInternalServerError", "x"), EmbeddingError, "failed: PluginDaemonInternal"),
        ({"code": -500, "message": "no JSON"}, EmbeddingError, "failed: code -500"),
        ({"code": -500, "message": "[" * 100_000}, EmbeddingError, "failed: code -500"),
        ({"code": 0, "message": "", "data": None}, EmbeddingError, "returned no vectors for 2 texts"),
        ({"code": 0, "message": "", "data": {"embeddings": [[1.0]]}}, EmbeddingError, "returned 1 vectors for 2"),
        ({"code": "?"}, EmbeddingError, "the plugin daemon returned no vectors"),
    ],
)
async def test_what_the_errors_of_the_daemon_mean(
    site: Site, daemon: PluginDaemonServer, event: dict[str, object], kind: type[Exception], reason: str
) -> None:
    """One line each. Only a daemon that does not answer counts as an unavailable service."""
    await add_credential(site)
    async with site.transaction() as session:
        embedder = await site.platform.tenant_embedder(session, site.tenant_id, FULL, MODEL)
    space = await embedder.space(asyncio.to_thread)
    assert space.dimensions == DIMENSIONS
    daemon.errors.append(event)
    first, second = await embedder.embed(["one", "two"], asyncio.to_thread)
    assert type(first) is kind
    assert first is second
    assert reason in str(first)
    assert "\n" not in str(first)


@pytest.mark.requirement(SECTION, DAEMON)
async def test_a_refused_text_stands_alone(site: Site, daemon: PluginDaemonServer) -> None:
    """The batch is halved until the text is alone. The others have vectors in their order."""
    await add_credential(site)
    daemon.refused.add("three")
    async with site.transaction() as session:
        embedder = await site.platform.tenant_embedder(session, site.tenant_id, FULL, MODEL)
    answers = await embed_with_retries(embedder, ["one", "two", "three", "four"], asyncio.to_thread)
    assert isinstance(answers[2], RefusedTextError)
    assert all(isinstance(answer, list) for index, answer in enumerate(answers) if index != 2)


@pytest.mark.requirement(SECTION, DAEMON)
@pytest.mark.parametrize("body", [b"", b"\n\n", b"data: {", b"data: []\n\n", b"\xff\xfe", b"<html>"])
async def test_garbage_is_an_ordinary_failure(site: Site, daemon: PluginDaemonServer, body: bytes) -> None:
    await add_credential(site)
    daemon.bodies.append(body)
    with pytest.raises(EmbeddingError, match="the plugin daemon returned no vectors"):
        await indexed(site)


@pytest.mark.requirement(SECTION, DAEMON)
async def test_a_daemon_that_does_not_answer_is_unavailable(site: Site, daemon: PluginDaemonServer) -> None:
    """Neither is one that answers 5xx. 429 asks for a pause."""
    await add_credential(site)
    daemon.statuses += [503, 429]
    with pytest.raises(Unavailable, match="answered 503"):
        await indexed(site)
    with pytest.raises(Retry, match="answered 429"):
        await indexed(site)
    access = site.platform.tenant_embedders
    assert access is not None
    object.__setattr__(access._access, "url", "http://127.0.0.1:9")  # the daemon has gone
    with pytest.raises(Unavailable, match="the plugin daemon does not answer for the embedding model"):
        await indexed(site)


async def test_another_model_of_the_tenant_is_noticed(site: Site, daemon: PluginDaemonServer) -> None:
    """A dataset that changes its model during the work is loaded by the next attempt. A new credential is no change."""
    await add_credential(site)
    dataset = await site.add_dataset(embedding_model_provider=FULL, embedding_model=MODEL)
    document = await site.add_document(dataset, f"About {uuid4()}.".encode() + prose(3))

    async def change(step: int) -> None:
        if step == 2:
            async with site.transaction() as session:
                await session.execute(
                    update(Dataset).where(Dataset.id == dataset.id).values(embedding_model="text-embedding-3-large")
                )

    with pytest.raises(Exception, match="embedding model or indexing technique was changed"):
        await site.run(index_document, site.request(document), after_step=change)
    await site.run(index_document, site.request(document))
    assert daemon.requests[-1]["model"] == "text-embedding-3-large"
