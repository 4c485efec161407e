"""The models of a tenant in the platform's rows: which one it uses by default, and the credential for one."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from streams.dify.embedding.provider_names import full_provider_name, provider_spellings
from streams.dify.errors import RefusedError
from streams.dify.models import (
    Provider,
    ProviderCredential,
    ProviderModel,
    ProviderModelCredential,
    TenantDefaultModel,
)
from streams.dify.models.json_text import read_object

_MODEL_TYPES = ("embeddings", "text-embedding")
"""The platform writes the first; some of its versions have also written the second."""
_FORMER_NAME = "openai_api_key"
"""The name of a credential that is the key alone, as the oldest rows have it."""


async def default_model(session: AsyncSession, tenant_id: str) -> tuple[str, str] | None:
    """Return provider and name of the embedding model that a tenant uses by default; None: it has chosen none."""
    found = await session.execute(
        select(TenantDefaultModel.provider_name, TenantDefaultModel.model_name)
        .where(TenantDefaultModel.tenant_id == tenant_id, TenantDefaultModel.model_type.in_(_MODEL_TYPES))
        .order_by(TenantDefaultModel.model_type != _MODEL_TYPES[0], TenantDefaultModel.created_at)
        .limit(1)
    )
    row = found.one_or_none()
    return None if row is None else (row.provider_name, row.model_name)


async def encrypted_credential(
    session: AsyncSession, tenant_id: str, provider: str, model: str
) -> Mapping[str, object] | None:
    """Return the tenant's own credential for a model: that of the model, else that of its provider; None: it has none.

    The further credentials that the platform shares the load of a model among (`load_balancing_model_configs`) are not
    used, and those of the platform itself are not the tenant's own. Secrets are still encrypted. Raises RefusedError if
    the credential is not the platform's JSON.
    """
    of_model = (
        select(ProviderModelCredential.encrypted_config)
        .join(ProviderModel, ProviderModel.credential_id == ProviderModelCredential.id)
        .where(
            ProviderModelCredential.tenant_id == tenant_id,
            ProviderModel.tenant_id == tenant_id,
            ProviderModel.model_name == model,
            ProviderModel.model_type.in_(_MODEL_TYPES),
            ProviderModel.is_valid,
            _is(ProviderModel.provider_name, provider),
        )
        .order_by(ProviderModel.provider_name != full_provider_name(provider))
    )
    of_provider = (
        select(ProviderCredential.encrypted_config)
        .join(Provider, Provider.credential_id == ProviderCredential.id)
        .where(
            ProviderCredential.tenant_id == tenant_id,
            Provider.tenant_id == tenant_id,
            Provider.provider_type == "custom",
            Provider.is_valid,
            _is(Provider.provider_name, provider),
        )
        .order_by(Provider.provider_name != full_provider_name(provider))
    )
    for query in (of_model, of_provider):
        config = await session.scalar(query.limit(1))
        if config:
            return _fields(config, provider)
    return None


def _is(column: InstrumentedAttribute[str], provider: str) -> ColumnElement[bool]:
    return column.in_(provider_spellings(provider))


def _fields(config: str, provider: str) -> Mapping[str, object]:
    if not config.lstrip().startswith("{"):
        return {_FORMER_NAME: config}
    found = read_object(config)
    if found is None:
        message = f"the tenant's credential for {provider} is not the platform's JSON"
        raise RefusedError(message)
    return found
