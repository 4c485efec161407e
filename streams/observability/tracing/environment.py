"""Reads OpenTelemetry's standard variables: whether spans are exported, and how. Imports nothing of OpenTelemetry.

The SDK reads them again. It only warns about a wrong value and takes another one; here a wrong value is an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from streams.settings import SettingsError
from streams.urls import check_urls

Protocol = Literal["http/protobuf", "grpc"]
EXPORTER = "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""The first one that is set counts. So do the protocols."""
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SAMPLER, SAMPLER_ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
DISABLED = "OTEL_SDK_DISABLED"
TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
BATCHES = {
    "OTEL_BSP_SCHEDULE_DELAY": 5000, "OTEL_BSP_MAX_QUEUE_SIZE": 2048, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": 512
}  # fmt: skip
"""Variables that are whole numbers above 0, and the SDK's defaults."""
_PARENT_BASED = "parentbased_"
SAMPLERS = tuple(
    f"{prefix}{name}" for prefix in ("", _PARENT_BASED) for name in ("always_on", "always_off", "traceidratio")
)


@dataclass(frozen=True, slots=True)
class Export:
    """How spans are exported."""

    exporter: str
    """`otlp`, `console`, or the name of an exporter that another package has installed."""
    protocol: Protocol
    """For `otlp`."""
    follows_parent: bool
    """Whether the sampler records nothing below a span that was not sampled."""


def requested_export(environment: Mapping[str, str]) -> Export | None:
    """Return how spans are exported. None: no exporter is asked for.

    One is asked for by OTEL_TRACES_EXPORTER, or by an endpoint for OTLP.

    Raises:
        SettingsError: A variable has a wrong value. The message is one line that names it.
    """
    endpoint = next((name for name in ENDPOINTS if environment.get(name, "").strip()), None)
    exporter = environment.get(EXPORTER, "").strip().lower() or ("otlp" if endpoint else "none")
    if exporter == "none" or environment.get(DISABLED, "").strip().lower() == "true":
        return None
    protocol = _protocol(environment)
    if exporter == "otlp":
        if endpoint is not None:
            _check_endpoint(endpoint, environment[endpoint].strip(), protocol)
        for name in TIMEOUTS:
            _check_number(environment, name)
    _check_batches(environment)
    return Export(exporter, protocol, follows_parent=_sampler(environment).startswith(_PARENT_BASED))


def _protocol(environment: Mapping[str, str]) -> Protocol:
    name = next((name for name in PROTOCOLS if environment.get(name, "").strip()), None)
    if name is None:
        return "http/protobuf"
    asked = environment[name].strip().lower()
    for known in get_args(Protocol):
        if asked == known:
            found: Protocol = known
            return found
    message = f"{name}: {asked!r} is not supported; write {' or '.join(get_args(Protocol))}"
    raise SettingsError(message)


def _check_endpoint(name: str, endpoint: str, protocol: Protocol) -> None:
    url = f"http://{endpoint}" if protocol == "grpc" and "://" not in endpoint else endpoint
    if "," in url:
        message = f"{name}: it is one URL; write http://host:port or https://host:port"
        raise SettingsError(message)
    try:
        check_urls(url, ("http", "https"))
    except ValueError as error:
        message = f"{name}: {error}"
        raise SettingsError(message) from None


def _sampler(environment: Mapping[str, str]) -> str:
    sampler = environment.get(SAMPLER, "").strip().lower() or "parentbased_always_on"
    if sampler not in SAMPLERS:
        message = f"{SAMPLER}: {sampler!r} is no sampler; write one of {', '.join(SAMPLERS)}"
        raise SettingsError(message)
    if sampler.endswith("traceidratio"):
        _check_number(environment, SAMPLER_ARGUMENT, most=1.0)
    return sampler


def _check_number(environment: Mapping[str, str], name: str, *, most: float | None = None) -> None:
    """Raise SettingsError if a variable is set and is not a number from 0 to `most`."""
    given = environment.get(name, "").strip()
    if not given:
        return
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not 0 <= number <= (float("inf") if most is None else most):
        message = f"{name}: write a number" + (" of 0 or more" if most is None else f" from 0 to {most:g}")
        raise SettingsError(message)


def _check_batches(environment: Mapping[str, str]) -> None:
    found = dict(BATCHES)
    for name in BATCHES:
        given = environment.get(name, "").strip()
        if not given:
            continue
        if not given.isdecimal() or not int(given):
            message = f"{name}: write a whole number above 0"
            raise SettingsError(message)
        found[name] = int(given)
    if found["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] > found["OTEL_BSP_MAX_QUEUE_SIZE"]:
        message = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: it is larger than OTEL_BSP_MAX_QUEUE_SIZE"
        raise SettingsError(message)
