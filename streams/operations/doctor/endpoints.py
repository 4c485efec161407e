"""The checks of the embedding endpoint, the chat endpoint and the schema registry. What is not configured has none."""

import asyncio

from schemas.registry import RegistryError, RegistryUnavailableError
from streams.codec import SchemaMissingError, build_codec
from streams.dify.embedding.endpoints import build_endpoint_embedders
from streams.dify.embedding.openai import build_openai_embedder
from streams.dify.embedding.port import Embedder, embed_one
from streams.dify.errors import BusyError
from streams.dify.qa.chat import ChatEndpoint, chat_endpoint
from streams.observability.error_text import message
from streams.operations.doctor.finding import Finding, ok
from streams.settings import Settings
from streams.topics import Catalogue

LONGEST_WAIT = 10.0
"""Seconds for an answer, whatever the settings allow a handler to wait: an operator waits for the command."""
_EMBEDDING, _CHAT, _REGISTRY = "embedding endpoint", "chat endpoint", "schema registry"


def examine_endpoints(settings: Settings, catalogue: Catalogue) -> list[Finding]:
    """Ask each endpoint that is configured. No request takes longer than `LONGEST_WAIT`. Raises SettingsError."""
    chat = chat_endpoint(_impatient(settings))
    return [
        *([examine_embedding(settings)] if settings.embedding_url is not None else []),
        *map(_examine_model, build_endpoint_embedders(_impatient(settings))),
        *([examine_chat(chat)] if chat is not None else []),
        *([examine_registry(settings, catalogue)] if settings.has_http_registry else []),
    ]


def examine_embedding(settings: Settings) -> Finding:
    """Embed one word, and compare the vector's length with the setting. Raises SettingsError."""
    declared = settings.embedding_dimensions
    unknown = _impatient(settings).model_copy(update={"embedding_dimensions": None})
    embedder = build_openai_embedder(unknown)
    try:
        found = asyncio.run(embedder.space(asyncio.to_thread)).dimensions
    except BusyError as error:
        return Finding(_EMBEDDING, "warning", message(error), "wait, or raise the limit of its account")
    except Exception as error:  # noqa: BLE001 - any error of the endpoint is what was to be found
        remedy = "start it, or correct STREAMS_EMBEDDING_URL, its model and its key"
        return Finding(_EMBEDDING, "fail", message(error), remedy)
    if declared not in {None, found}:
        text = f"its vectors have {found} numbers, not {declared}"
        return Finding(_EMBEDDING, "fail", text, f"set STREAMS_EMBEDDING_DIMENSIONS to {found}, or use another model")
    return ok(_EMBEDDING, f"it answers with vectors of {found} numbers")


def _examine_model(embedder: Embedder) -> Finding:
    """Embed one word with a model of STREAMS_EMBEDDING_ENDPOINTS."""
    name = f"{embedder.model} of {embedder.provider}"
    try:
        vector = asyncio.run(embed_one(embedder, "one", asyncio.to_thread))
    except BusyError as error:
        return Finding(_EMBEDDING, "warning", f"{name}: {message(error)}", "wait, or raise the limit of its account")
    except Exception as error:  # noqa: BLE001 - any error of the endpoint is what was to be found
        remedy = "start it, or correct its entry in the file of STREAMS_EMBEDDING_ENDPOINTS"
        return Finding(_EMBEDDING, "fail", f"{name}: {message(error)}", remedy)
    return ok(_EMBEDDING, f"{name} answers with vectors of {len(vector)} numbers")


def examine_chat(endpoint: ChatEndpoint) -> Finding:
    """Ask for one completion."""

    async def ask() -> None:
        async with endpoint.open() as client:
            await client.check()

    try:
        asyncio.run(ask())
    except BusyError as error:
        return Finding(_CHAT, "warning", message(error), "wait, or raise the limit of its account")
    except Exception as error:  # noqa: BLE001 - any error of the endpoint is what was to be found
        return Finding(_CHAT, "fail", message(error), "start it, or correct STREAMS_CHAT_URL, its model and its key")
    return ok(_CHAT, "it answers")


def examine_registry(settings: Settings, catalogue: Catalogue) -> Finding:
    """Ask for the schema of each event class. Without it, the event cannot be published."""
    try:
        codec = build_codec(_impatient(settings), catalogue)
        for topic in catalogue:
            codec.check(topic.event)
    except SchemaMissingError as error:
        text, _, remedy = message(error).partition(": ")
        return Finding(_REGISTRY, "fail", text, remedy)
    except (RegistryUnavailableError, RegistryError) as error:
        remedy = "start it, or correct STREAMS_SCHEMA_REGISTRY_URL, its account and its certificates"
        return Finding(_REGISTRY, "fail", message(error), remedy)
    return ok(_REGISTRY, "it has the schema of every event")


def _impatient(settings: Settings) -> Settings:
    """Return the settings with shorter time limits for these endpoints."""
    names = (
        "embedding_connect_timeout",
        "embedding_request_timeout",
        "chat_connect_timeout",
        "chat_timeout",
        "schema_registry_connect_timeout",
        "schema_registry_request_timeout",
    )
    return settings.model_copy(update={name: min(getattr(settings, name), LONGEST_WAIT) for name in names})
