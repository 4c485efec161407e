"""Fakes of the senders of the platform's signals, in the shape of Dify 1.9.2, whose classes are not available here.

Rows are those of `streams.dify.models`. This module has the entities that are never rows.
"""

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass
class Account:
    """The creator of an app."""

    id: str = "account-1"
    interface_language: str | None = "en-US"


class ProviderType(StrEnum):
    """The owner of a model's key."""

    CUSTOM = "custom"
    SYSTEM = "system"


class QuotaType(StrEnum):
    """The quota of a tenant at a system provider."""

    PAID = "paid"
    FREE = "free"
    TRIAL = "trial"


class QuotaUnit(StrEnum):
    """The unit of a quota."""

    TIMES = "times"
    TOKENS = "tokens"
    CREDITS = "credits"


@dataclass
class QuotaConfiguration:
    """One quota of a system provider."""

    quota_type: QuotaType = QuotaType.TRIAL
    quota_unit: QuotaUnit = QuotaUnit.TOKENS
    quota_limit: int = 1000


@dataclass
class SystemConfiguration:
    """A system provider and its current quota."""

    current_quota_type: QuotaType | None = QuotaType.TRIAL
    quota_configurations: list[QuotaConfiguration] = field(default_factory=lambda: [QuotaConfiguration()])


@dataclass
class ProviderConfiguration:
    """The provider of a tenant."""

    using_provider_type: ProviderType = ProviderType.SYSTEM
    system_configuration: SystemConfiguration | None = field(default_factory=SystemConfiguration)


@dataclass
class ProviderModelBundle:
    """A provider and its model."""

    configuration: ProviderConfiguration = field(default_factory=ProviderConfiguration)


@dataclass
class ModelConf:
    """The model that answers."""

    provider: str = "langgenius/openai/openai"
    model: str = "gpt-4o"
    provider_model_bundle: ProviderModelBundle = field(default_factory=ProviderModelBundle)


@dataclass
class AppConfig:
    """The app and its tenant."""

    app_id: str
    tenant_id: str


@dataclass
class EasyUIBasedAppGenerateEntity:
    """The entity of an answer."""

    app_config: AppConfig
    model_conf: ModelConf = field(default_factory=ModelConf)


class ChatAppGenerateEntity(EasyUIBasedAppGenerateEntity):
    """The entity of a chat app."""


class AgentChatAppGenerateEntity(EasyUIBasedAppGenerateEntity):
    """The entity of an agent."""


class CompletionAppGenerateEntity(EasyUIBasedAppGenerateEntity):
    """The entity of a completion app."""
