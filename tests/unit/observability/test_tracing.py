"""OpenTelemetry's variables, the headers, and a process without an exporter."""

import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.observability.tracing import bind_trace, child_traceparent, trace_id_of, trace_of
from streams.observability.tracing.environment import requested_export
from streams.observability.tracing.traceparent import is_unsampled, parse_traceparent
from streams.observability.tracing.tracer import current_trace
from streams.settings import Settings, SettingsError

SECTION = "Traces"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
HEADER = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", ENDPOINT: "http://127.0.0.1:4318"},
        {"OTEL_SDK_DISABLED": "true", ENDPOINT: "http://127.0.0.1:4318"},
        {"OTEL_SERVICE_NAME": "pipeline", "OTEL_TRACES_SAMPLER": "always_on"},
        {ENDPOINT: "  "},
    ],
)
def test_no_exporter_is_asked_for(variables: dict[str, str]) -> None:
    assert requested_export(variables) is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({ENDPOINT: "http://127.0.0.1:4318"}, ("otlp", "http/protobuf", True)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp", "http/protobuf", True)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://collector/v1/traces"}, ("otlp", "http/protobuf", True)),
        ({ENDPOINT: "collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ("otlp", "grpc", True)),
        (
            {
                "OTEL_TRACES_EXPORTER": "console",
                "OTEL_TRACES_SAMPLER": "traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.1",
            },
            ("console", "http/protobuf", False),
        ),
    ],
)
def test_an_exporter_is_asked_for(variables: dict[str, str], expected: tuple[str, str, bool]) -> None:
    export = requested_export(variables)
    assert export is not None
    assert (export.exporter, export.protocol, export.follows_parent) == expected


@pytest.mark.requirement(SECTION, "a wrong OTLP endpoint or template: one clear line at start")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        (ENDPOINT, "collector"),
        (ENDPOINT, "127.0.0.1:4318"),
        (ENDPOINT, "ftp://collector:4318"),
        (ENDPOINT, "http://collector:port"),
        (ENDPOINT, "http://one:4318,http://two:4318"),
        (ENDPOINT, "http://user:secret@collector:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "1%"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
    ],
)
def test_a_wrong_variable_is_one_line_with_its_name(name: str, value: str) -> None:
    given = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", name: value}
    with pytest.raises(SettingsError, match=r"^OTEL_[A-Z_]+: [^\n]+$") as raised:
        requested_export(given)
    assert name.split("_")[1] in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.requirement(SECTION, "a wrong OTLP endpoint or template: one clear line at start")
@pytest.mark.parametrize(
    "template",
    [
        "https://traces/",
        "traces/{trace_id}",
        "https://traces/{id}",
        "https://traces/{trace_id}/{trace_id}",
        "{trace_id}",
    ],
)
def test_a_wrong_template_is_rejected(template: str) -> None:
    with pytest.raises(ValueError, match="trace_url"):
        Settings(trace_url=template)


def test_a_template_makes_a_link() -> None:
    settings = Settings(trace_url="https://traces.example/trace/{trace_id}?from=now-1d")
    assert settings.trace_link("0af7") == "https://traces.example/trace/0af7?from=now-1d"
    assert settings.trace_link(None) is None
    assert Settings().trace_link("0af7") is None


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"00",
        HEADER.upper(),
        HEADER + b"-",
        b"00-" + b"0" * 32 + HEADER[35:],
        HEADER[:36] + b"0" * 16 + b"-01",
    ],
)
def test_an_invalid_header_has_no_trace(header: bytes | None) -> None:
    assert parse_traceparent(header) is None
    assert trace_id_of(header) is None


UNSAMPLED = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][02468ace]")
HEADERS = st.from_regex(UNSAMPLED, fullmatch=True)


@st.composite
def changed_headers(draw: st.DrawFn) -> bytes:
    """Return a header that is not sampled, with one byte replaced, inserted or removed."""
    header = draw(HEADERS)
    position = draw(st.integers(0, len(header)))
    return header[:position] + draw(st.binary(max_size=1)) + header[position + draw(st.integers(0, 1)) :]


@given(header=HEADERS | changed_headers() | st.binary(max_size=60))
@example(HEADER)
@example(HEADER[:-2] + b"00")
@example(b"")
def test_a_header_is_unsampled_by_the_pattern_of_the_standard(header: bytes) -> None:
    assert is_unsampled(header) is (UNSAMPLED.fullmatch(header) is not None)


def test_no_header_is_not_unsampled() -> None:
    assert not is_unsampled(None)


def test_log_lines_have_the_trace_of_the_header() -> None:
    """Without an exporter only the trace is known, not the span."""
    with trace_of(HEADER):
        assert current_trace() == {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
        assert child_traceparent()[3:35] == HEADER[3:35]
        bind_trace(lambda: None)
        assert current_trace() == {}


@pytest.mark.requirement(SECTION, "without an exporter nothing is loaded")
def test_nothing_is_imported_without_an_exporter() -> None:
    """A worker's modules are imported and an event is encoded.

    redis-py itself imports the SDK's metrics where they are installed. Nothing of traces or of an exporter is loaded.
    """
    code = """
import sys, streams.bootstrap
from schemas import DocumentDeleted
from streams.codec import default_codec
encoded = default_codec().encode(DocumentDeleted(document_id="d", dataset_id="s", doc_form="text_model"))
assert encoded.span is None
ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.instrumentation", "grpc", "google.protobuf")
print([name for name in sys.modules if name.startswith((*ours, "streams.observability.tracing.sdk"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "[]"
