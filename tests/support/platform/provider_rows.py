"""Creates rows of the platform's providers, with default values for all columns."""

from uuid import uuid4

from streams.dify.models import Provider


def make_provider(tenant_id: str, **columns: object) -> Provider:
    """Return a provider of a tenant with 1,000 trial credits, none used."""
    known: dict[str, object] = {
        "id": str(uuid4()),
        "tenant_id": tenant_id,
        "provider_name": "openai",
        "provider_type": "system",
        "quota_type": "trial",
        "quota_limit": 1000,
        "quota_used": 0,
        "is_valid": True,
    }
    return Provider(**{**known, **columns})
