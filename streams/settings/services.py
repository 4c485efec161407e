"""The settings of the platform's other services: plugins, marketplace, billing, pipelines, traces."""

from pydantic import BaseModel, Field, SecretStr, field_validator

from streams.durations import Seconds
from streams.urls import check_urls


class ServiceSettings(BaseModel):
    """Each service has a URL and perhaps a key. A service without a URL is not used."""

    plugin_daemon_url: str | None = Field(None, description="the platform's PLUGIN_DAEMON_URL")
    plugin_daemon_key: SecretStr | None = None
    marketplace_url: str | None = Field(None, description="the platform's MARKETPLACE_API_URL")
    billing_url: str | None = Field(None, description="the platform's BILLING_API_URL; unset: no billing")
    billing_key: SecretStr | None = None
    pipeline_url: str | None = Field(None, description="the platform's API with the blueprint that runs pipelines")
    pipeline_key: SecretStr | None = None
    pipeline_request_timeout: Seconds = Field(600.0, description="seconds for one run of a pipeline")
    service_connect_timeout: Seconds = 5.0
    service_request_timeout: Seconds = Field(30.0, description="seconds for a request to one of these services")

    @field_validator("plugin_daemon_url", "marketplace_url", "billing_url", "pipeline_url")
    @classmethod
    def _check_service_url(cls, value: str | None) -> str | None:
        return None if value is None else check_urls(value, ("http", "https"))
