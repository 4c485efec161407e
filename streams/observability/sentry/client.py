"""The client of Sentry's SDK. It reads, patches and hooks nothing of the process.

Only `reporter` imports this module, and only where SENTRY_DSN is set.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import sentry_sdk
from sentry_sdk.transport import HttpTransport

from streams.settings.sentry import SentrySettings

REQUEST_SECONDS = 5
"""Time limit of one request."""
QUEUE = 100
"""Envelopes that wait for Sentry. Further ones are lost, and counted."""


def connect(settings: SentrySettings, lose: Callable[[str], None]) -> sentry_sdk.Client:
    """Return a client of its own, which is not the process's global one. Opens no connection yet.

    Args:
        settings: Where events go.
        lose: Called with the reason for each event that does not get there.
    """

    class Transport(HttpTransport):
        """Sends each event once, and reports each one that is lost."""

        TIMEOUT = REQUEST_SECONDS

        def on_dropped_event(self, _reason: str) -> None:
            lose(_REASONS.get(_reason, _reason))

        def _get_pool_options(self) -> dict[str, Any]:
            return {**super()._get_pool_options(), "retries": False}

    return sentry_sdk.Client(
        dsn=settings.dsn.get_secret_value(),
        environment=settings.environment,
        release=settings.release or f"event-streams@{version('event-streams')}",
        transport=Transport,
        transport_queue_size=QUEUE,
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=False,
        include_source_context=False,
        max_request_body_size="never",
        auto_session_tracking=False,
        enable_backpressure_handling=False,
        send_client_reports=False,
        spotlight=False,
        in_app_include=["streams", "schemas"],
    )


_REASONS = {
    "full_queue": "the queue is full",
    "network": "Sentry cannot be reached",
    "self_rate_limits": "Sentry asks to wait",
    "status_429": "Sentry asks to wait",
}
"""The SDK's reasons in plain words; others, such as `status_500`, stay."""
