"""The port of trace providers, and the providers that there are."""

from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from streams.dify.errors import RefusedError
from streams.dify.http import Timeouts
from streams.dify.traces.langfuse import Langfuse
from streams.dify.traces.otlp import OTLP
from streams.dify.traces.trace import Trace

Values = Mapping[str, str]
"""The configuration of a provider, decrypted."""


class TraceProvider(Protocol):
    """Sends traces to one project of one service."""

    async def send(self, trace: Trace) -> None:
        """Send a trace. Sent again, it overwrites itself.

        Raises BusyError (429), ServiceError (a retry may succeed) or RefusedError (no retry can succeed).
        """


class TraceProviders:
    """The providers by their names in trace_app_config."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._known: Mapping[str, Callable[[Values], TraceProvider]] = {
            "langfuse": self._langfuse,
            "otlp": self._otlp,
        }

    def check(self, name: str) -> None:
        """Raise RefusedError if there is no such provider."""
        if name not in self._known:
            message = f"traces cannot be sent to {name[:100]!r}; there are {' and '.join(self._known)}"
            raise RefusedError(message)

    def provider(self, name: str, values: Values) -> TraceProvider:
        """Return a provider with its configuration. Raises RefusedError if either is not usable."""
        self.check(name)
        return self._known[name](values)

    def _langfuse(self, values: Values) -> TraceProvider:
        host = values.get("host") or "https://api.langfuse.com"
        return Langfuse(
            _address("host", host), _required(values, "public_key"), _required(values, "secret_key"), self._timeouts
        )

    def _otlp(self, values: Values) -> TraceProvider:
        endpoint = _address("endpoint", _required(values, "endpoint"))
        return OTLP(endpoint, values.get("api_key"), values.get("project") or "dify", self._timeouts)


def _required(values: Values, name: str) -> str:
    value = values.get(name)
    if not value:
        message = f"the configuration of the trace provider has no {name}"
        raise RefusedError(message)
    return value


def _address(name: str, value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        usable = False
    if not usable:
        message = f"the {name} of the trace provider is not an http or https address"
        raise RefusedError(message)
    return value.rstrip("/")
