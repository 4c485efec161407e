"""The models that tenants have set up in the platform, by the plugin daemon."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.credentials.tenant_secrets import TenantSecrets
from streams.dify.embedding.batches import BatchEmbedder
from streams.dify.embedding.plugin_daemon import DaemonAccess, PluginModelService, TenantModel
from streams.dify.embedding.provider_names import full_provider_name, plugin_and_provider
from streams.dify.embedding.tenant_models import encrypted_credential
from streams.dify.errors import RefusedError
from streams.settings import Settings
from streams.storage import Storage

_KEPT = 1000
"""The number of models whose vectors' length and decrypted credential are remembered."""


@dataclass(frozen=True, slots=True)
class _Known:
    model: TenantModel
    embedder: BatchEmbedder


class TenantEmbedders:
    """Embedding models with the tenants' own credentials. The requests of all tenants share one limit."""

    def __init__(self, access: DaemonAccess, storage: Storage) -> None:
        self._access = access
        self._storage = storage
        self._slots = asyncio.Semaphore(access.concurrency)
        self._known: OrderedDict[tuple[str, str, str], _Known] = OrderedDict()

    async def embedder(self, session: AsyncSession, tenant_id: str, provider: str, model: str) -> BatchEmbedder:
        """Return a model of a tenant. It is a new one if the tenant's credential has changed.

        Args:
            session: Reads the rows of the credential.
            tenant_id: The tenant.
            provider: The provider, in the short or the full form.
            model: The model.

        Raises:
            RefusedError: The name of the provider is not one, or the tenant has no credential of its own.
        """
        names = plugin_and_provider(provider)
        if names is None:
            message = f"{provider!r} is not the name of a provider: write <publisher>/<plugin>/<provider>"
            raise RefusedError(message)
        credential = await encrypted_credential(session, tenant_id, provider, model)
        if credential is None:
            message = (
                f"the embedding model {model!r} of {provider!r} is not configured: the tenant has no credential of its "
                "own for it, and a trial quota of the platform is not used"
            )
            raise RefusedError(message)
        wanted = TenantModel(tenant_id, *names, model, credential)
        key = (tenant_id, full_provider_name(provider), model)
        known = self._known.get(key)
        if known is None or known.model != wanted:
            known = self._known[key] = _Known(wanted, self._new(key, wanted))
        self._known.move_to_end(key)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return known.embedder

    def _new(self, key: tuple[str, str, str], wanted: TenantModel) -> BatchEmbedder:
        _, provider, model = key
        return BatchEmbedder(
            provider,
            model,
            PluginModelService(self._access, wanted, TenantSecrets(self._storage, wanted.tenant_id)),
            dimensions=None,
            batch=self._access.batch,
            slots=self._slots,
            concurrency=self._access.concurrency,
        )


def build_tenant_embedders(settings: Settings, storage: Storage) -> TenantEmbedders | None:
    """Return the models of tenants; None: STREAMS_PLUGIN_DAEMON_URL is not set."""
    if settings.plugin_daemon_url is None:
        return None
    access = DaemonAccess(
        url=settings.plugin_daemon_url,
        key=settings.plugin_daemon_key,
        connect_timeout=settings.embedding_connect_timeout,
        request_timeout=settings.embedding_request_timeout,
        batch=settings.embedding_batch,
        concurrency=settings.embedding_concurrency,
    )
    return TenantEmbedders(access, storage)
