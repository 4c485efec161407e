"""Creates apps that trace, and payloads of traces as the platform writes them."""

import json
from typing import Any
from uuid import uuid4

from schemas import TraceRecorded
from streams.dify.models import App, TraceAppConfig
from tests.support.platform.annotation_rows import add_app
from tests.support.platform.handler_runs import Site
from tests.support.traces.tenant_key import ENCRYPTED_PUBLIC_KEY, ENCRYPTED_SECRET_KEY, PRIVATE_KEY

START, END = "2026-11-28T10:00:00", "2026-11-28T10:00:02.500000"


async def add_traced_app(
    site: Site, url: str, provider: str = "langfuse", *, enabled: bool = True, is_active: bool = True
) -> App:
    """Add an app that uses a provider, with the secrets encrypted, and the private key of its tenant."""
    configs: dict[str, dict[str, object]] = {
        "langfuse": {"host": url, "public_key": ENCRYPTED_PUBLIC_KEY, "secret_key": ENCRYPTED_SECRET_KEY},
        "otlp": {"endpoint": url, "api_key": ENCRYPTED_SECRET_KEY, "project": "help desk"},
    }
    await site.platform.storage.write(f"privkeys/{site.tenant_id}/private.pem", PRIVATE_KEY.encode())
    app = await add_app(site, tracing=json.dumps({"enabled": enabled, "tracing_provider": provider}))
    config = configs.get(provider, {"api_key": "x"})
    await site.add(TraceAppConfig(app_id=app.id, tracing_provider=provider, tracing_config=config, is_active=is_active))
    return app


def message_info(message_id: str, **fields: object) -> dict[str, Any]:
    """Return the fields of a MessageTraceInfo."""
    known: dict[str, Any] = {
        "message_id": message_id,
        "message_data": {
            "id": message_id,
            "conversation_id": "conversation-1",
            "model_id": "gpt-4o",
            "answer": "Thirty days.",
            "total_price": "0.0021",
            "from_account_id": "account-1",
        },
        "inputs": [{"role": "user", "text": "How often may I be away?"}],
        "outputs": "Thirty days.",
        "start_time": START,
        "end_time": END,
        "metadata": {"ls_provider": "openai", "status": "normal"},
        "message_tokens": 30,
        "answer_tokens": 12,
        "total_tokens": 42,
        "error": "",
        "file_list": [],
        "conversation_mode": "chat",
    }
    return {**known, **fields}


async def record(site: Site, app: App, kind: str, info: dict[str, Any] | None) -> TraceRecorded:
    """Write a payload as the platform does, and return its event."""
    event = TraceRecorded(tenant_id=site.tenant_id, app_id=app.id, file_id=uuid4().hex)
    payload = {"app_id": app.id, "trace_info_type": kind, "trace_info": info}
    await site.platform.storage.write(payload_key(event), json.dumps(payload).encode())
    return event


def payload_key(event: TraceRecorded) -> str:
    """Return the key of an event's payload in the storage."""
    return f"ops_trace/{event.app_id}/{event.file_id}.json"
