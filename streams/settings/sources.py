"""The settings of the sources of documents: Notion and web readers."""

from pydantic import BaseModel, Field, SecretStr, field_validator

from streams.durations import Seconds
from streams.urls import check_urls


def split_names(value: object) -> object:
    """Return the names of a text in which commas separate them; any other value as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class SourceSettings(BaseModel):
    """Notion, Jina, Firecrawl and Watercrawl."""

    source_connect_timeout: Seconds = Field(5.0, description="seconds for a connection to Notion or a web reader")
    source_request_timeout: Seconds = Field(60.0, description="seconds without an answer from one of them")
    source_private_addresses: bool = Field(False, description="read web pages at private addresses too")  # noqa: FBT003
    notion_url: str = "https://api.notion.com"
    notion_token: SecretStr | None = Field(None, description="token of the integration that reads Notion documents")
    notion_tenants: tuple[str, ...] = Field(
        (), description="ids of the tenants that may use it, separated by commas; `*`: all"
    )
    jina_url: str = "https://r.jina.ai"
    jina_key: SecretStr | None = None
    firecrawl_url: str = "https://api.firecrawl.dev"
    firecrawl_key: SecretStr | None = None
    watercrawl_url: str = "https://app.watercrawl.dev"
    watercrawl_key: SecretStr | None = None

    @field_validator("notion_url", "jina_url", "firecrawl_url", "watercrawl_url")
    @classmethod
    def _check_source_url(cls, value: str) -> str:
        return check_urls(value, ("http", "https"))

    @field_validator("notion_tenants", mode="before")
    @classmethod
    def _split_tenants(cls, value: object) -> object:
        return split_names(value)
