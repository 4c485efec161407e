"""The names of model providers. The platform knows each provider under a short and under a full name."""

import re

_SHORT = re.compile(r"[a-z0-9_-]+")
_PUBLISHER = "langgenius"
_PLUGIN_OF = {"google": "gemini"}
"""The plugins of the platform's publisher whose name is not that of their provider."""


def full_provider_name(name: str) -> str:
    """Return the full name of a provider: ``openai`` is ``langgenius/openai/openai``.

    It has the publisher, the plugin and the provider in the plugin. Names in another form stay as they are.
    """
    if not _SHORT.fullmatch(name):
        return name
    return f"{_PUBLISHER}/{_PLUGIN_OF.get(name, name)}/{name}"


def provider_spellings(name: str) -> tuple[str, ...]:
    """Return the names under which rows may have a provider: the full one, and the short one of the publisher's own."""
    full = full_provider_name(name)
    publisher, _, rest = full.partition("/")
    short = rest.rpartition("/")[2]
    return (full, short) if publisher == _PUBLISHER and full_provider_name(short) == full else (full,)


def plugin_and_provider(name: str) -> tuple[str, str] | None:
    """Return the plugin's id and the provider in it: ``langgenius/openai`` and ``openai``; None: no such name."""
    parts = full_provider_name(name).split("/")
    return (f"{parts[0]}/{parts[1]}", parts[2]) if len(parts) == 3 and all(parts) else None  # noqa: PLR2004 - see above
