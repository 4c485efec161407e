"""The settings of traces. OpenTelemetry's own variables (OTEL_…) say where spans go."""

from pydantic import BaseModel, Field, field_validator

from streams.urls import check_urls

_PLACE = "{trace_id}"


class ObservabilitySettings(BaseModel):
    """Where people look at what the pipeline reports."""

    trace_url: str | None = Field(
        None, description="template of the link to a trace, with {trace_id}; commands print the link"
    )

    @field_validator("trace_url")
    @classmethod
    def _check_trace_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        check_urls(value.replace(_PLACE, "0"))
        if value.count(_PLACE) != 1 or "{" in value.replace(_PLACE, "") or "}" in value.replace(_PLACE, ""):
            message = f"write a URL with {_PLACE} once and no other braces, such as https://traces/trace/{_PLACE}"
            raise ValueError(message)
        check_urls(value.replace(_PLACE, "0"), ("http", "https"))
        return value

    def trace_link(self, trace_id: str | None) -> str | None:
        """Return the link to a trace. None: there is no template, or no trace."""
        return self.trace_url.replace(_PLACE, trace_id) if self.trace_url and trace_id else None
