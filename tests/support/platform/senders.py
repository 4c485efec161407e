"""Stand-ins for what the platform's signals carry, shaped as Dify 1.9.2 shapes it; its own classes are not at hand.

Apps, tenants, datasets, documents and messages are rows of `streams.dify.models`. Here are the others, and the
entities that never are rows.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import uuid4

from sqlalchemy import Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class PlatformModel(DeclarativeBase):
    """Rows of the platform that no handler reads yet; a test makes their tables."""


class AppModelConfig(PlatformModel):
    """`app_model_configs`, its id made by the sender."""

    __tablename__ = "app_model_configs"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    app_id: Mapped[str]


class Workflow(PlatformModel):
    """`workflows`, its id made with the row."""

    __tablename__ = "workflows"

    id: Mapped[str] = mapped_column(Text, primary_key=True, default=lambda: str(uuid4()))
    app_id: Mapped[str]
    graph: Mapped[str]


@dataclass
class Account:
    """Who made an app."""

    id: str = "account-1"
    interface_language: str | None = "en-US"


class ProviderType(StrEnum):
    """Whose key a model is used with."""

    CUSTOM = "custom"
    SYSTEM = "system"


class QuotaType(StrEnum):
    """What a tenant has of a system provider."""

    PAID = "paid"
    FREE = "free"
    TRIAL = "trial"


class QuotaUnit(StrEnum):
    """What a quota counts."""

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
    """A system provider, and which quota counts now."""

    current_quota_type: QuotaType | None = QuotaType.TRIAL
    quota_configurations: list[QuotaConfiguration] = field(default_factory=lambda: [QuotaConfiguration()])


@dataclass
class ProviderConfiguration:
    """How a tenant uses a provider."""

    using_provider_type: ProviderType = ProviderType.SYSTEM
    system_configuration: SystemConfiguration | None = field(default_factory=SystemConfiguration)


@dataclass
class ProviderModelBundle:
    """A provider and its model."""

    configuration: ProviderConfiguration = field(default_factory=ProviderConfiguration)


@dataclass
class ModelConf:
    """Which model answers."""

    provider: str = "langgenius/openai/openai"
    model: str = "gpt-4o"
    provider_model_bundle: ProviderModelBundle = field(default_factory=ProviderModelBundle)


@dataclass
class AppConfig:
    """Of which app and tenant."""

    app_id: str
    tenant_id: str


@dataclass
class EasyUIBasedAppGenerateEntity:
    """What an answer is generated from."""

    app_config: AppConfig
    model_conf: ModelConf = field(default_factory=ModelConf)


class ChatAppGenerateEntity(EasyUIBasedAppGenerateEntity):
    """Of a chat app."""


class AgentChatAppGenerateEntity(EasyUIBasedAppGenerateEntity):
    """Of an agent."""


class CompletionAppGenerateEntity(EasyUIBasedAppGenerateEntity):
    """Of a completion app."""
