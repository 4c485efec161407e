"""Events of messages."""

from typing import Literal

from schemas.event import Event


class MessageCreated(Event):
    """A model has answered a message. Its use of the provider is recorded and charged to the quota."""

    message_id: str
    app_id: str
    provider_name: str
    provider_name_long: str | None = None
    """The provider's plugin name (`langgenius/openai/openai`). Its row is charged only if `provider_name` has none."""
    model: str
    provider_type: Literal["system", "custom"]
    quota_type: str | None = None
    """paid, free or trial; null for custom providers."""
    quota_unit: Literal["tokens", "credits", "times"] | None = None
    quota_limit: int | None = None
    """-1: unlimited, nothing is charged."""
    message_tokens: int
    answer_tokens: int
    credits: int | None = None
    """The cost in credits; null unless quota_unit is credits."""
