"""The credentials of a tenant for its sources of documents: rows of datasource_providers, encrypted with its key."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.credentials.tenant_secrets import TenantSecrets
from streams.dify.errors import ExtractionError, RefusedError
from streams.dify.models import DatasourceProvider
from streams.storage import Storage


class _Plugin(NamedTuple):
    """How the platform stores the credentials of a source."""

    plugin_id: str
    provider: str
    secret: str
    """The name of the secret in the credentials."""


_PLUGINS: Mapping[str, _Plugin] = {
    "firecrawl": _Plugin("langgenius/firecrawl_datasource", "firecrawl", "firecrawl_api_key"),
    "jinareader": _Plugin("langgenius/jina_datasource", "jinareader", "api_key"),
    "notion": _Plugin("langgenius/notion_datasource", "notion_datasource", "integration_secret"),
    "watercrawl": _Plugin("langgenius/watercrawl_datasource", "watercrawl", "api_key"),
}
"""Key: the name of the source in data_source_info, or ``notion``."""
_NEVER = -1


@dataclass(frozen=True, slots=True)
class Access:
    """What a tenant has given for a source."""

    secret: str = field(repr=False)
    """A token or a key."""
    url: str | None = None
    """The address of the tenant's own server; None: it has none."""


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A credential as the platform stores it: secrets are encrypted."""

    credential_id: str
    tenant_id: str
    source: str
    """The crawler's name in data_source_info, or ``notion``."""
    values: Mapping[str, object] = field(repr=False)
    expires_at: int
    """Seconds since 1970; -1: never."""

    async def opened(self, storage: Storage) -> Access:
        """Return the decrypted credential. The tenant's private key is in the storage.

        Raises ExtractionError that names the credential, and StorageAwayError.
        """
        name = f"the credential {self.credential_id} of {self.source}"
        if self.expires_at != _NEVER and self.expires_at <= time.time():
            message = f"{name} has expired, and only the platform can renew it: connect the source there again"
            raise ExtractionError(message)
        secret, url = self.values.get(_PLUGINS[self.source].secret), self.values.get("base_url")
        if not isinstance(secret, str) or not secret:
            message = f"{name} has no {_PLUGINS[self.source].secret}: connect the source on the platform again"
            raise ExtractionError(message)
        try:
            plain = await TenantSecrets(storage, self.tenant_id).decrypt(secret)
        except RefusedError as error:
            message = f"{name} cannot be used: {error}"
            raise ExtractionError(message) from error
        return Access(plain, url if isinstance(url, str) and url else None)


async def stored_credential(
    session: AsyncSession, tenant_id: str, source: str, credential_id: str | None
) -> StoredCredential | None:
    """Return a credential of a tenant, as the platform chooses it; None: the tenant has no such one.

    Args:
        session: reads the platform's tables.
        tenant_id: the tenant of the document.
        source: a crawler's name in data_source_info, or ``notion``.
        credential_id: the credential that the document names; None: the tenant's default one for the source.
    """
    plugin = _PLUGINS.get(source)
    if plugin is None:
        return None
    query = select(DatasourceProvider).where(DatasourceProvider.tenant_id == tenant_id)
    if credential_id is None:
        query = query.where(
            DatasourceProvider.plugin_id == plugin.plugin_id, DatasourceProvider.provider == plugin.provider
        ).order_by(DatasourceProvider.is_default.desc(), DatasourceProvider.created_at, DatasourceProvider.id)
    else:
        query = query.where(DatasourceProvider.id == credential_id)
    row = await session.scalar(query.limit(1))
    if row is None:
        return None
    return StoredCredential(row.id, tenant_id, source, row.encrypted_credentials, row.expires_at)
