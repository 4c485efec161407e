"""Log lines on stderr: JSON for machines, readable text on a terminal. All libraries use the same format.

Every line of a delivery has its event_id, topic, partition, offset, handler, attempt and tenant_id. `bind_delivery` and
`delivery_context` bind these to the task, so the code that logs need not pass them. Values that are marked as personal
or secret in the delivery's event are masked in all its lines, also in those of handlers
(`streams.observability.redaction`).
"""

import logging.config
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from io import StringIO
from typing import TextIO, cast
from uuid import UUID
from weakref import WeakSet

import structlog
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor, WrappedLogger

from streams.observability.error_text import describe, exception_of
from streams.observability.log_repeats import RepeatHandler
from streams.observability.printable import escape_json, escape_line, escape_lines
from streams.observability.redaction import Redactor, bind_redactor, current_redactor
from streams.observability.tracing import current_trace
from streams.settings import Settings

_NOISY = ("aiokafka", "asyncio", "faust", "mode", "sqlalchemy", "httpx", "httpx2")
"""Libraries whose informational lines do not help operators. STREAMS_LOG_LEVEL=debug shows them."""

ROOT = ""
"""The name of the root logger."""

_delivery: ContextVar[Callable[[], Mapping[str, object]] | None] = ContextVar("delivery", default=None)

_loggers: WeakSet[FilteringBoundLogger] = WeakSet()

_OWN = "streams."
_ALL_EXTRA = structlog.stdlib.ExtraAdder()

_FIRST = ("timestamp", "level", "message", "logger")
_UNMASKED = frozenset(
    {
        "timestamp", "level", "logger", "event_id", "topic", "partition", "offset", "handler", "attempt", "tenant_id",
        "trace_id", "span_id",
    }
)  # fmt: skip
"""Fields that every line needs, and that never come from a marked field."""
_MULTILINE = frozenset({"exception", "stack", "stack_info"})
"""Fields that the console format prints in several lines."""


def get_logger(name: str) -> FilteringBoundLogger:
    """Return a logger for a module. Call it with a text and fields: `log.info("tier read", topic=…, records=…)`."""
    logger = cast("FilteringBoundLogger", structlog.stdlib.get_logger(name))
    _loggers.add(logger)
    return logger


def configure_logging(settings: Settings) -> None:
    """Set up logging for this process. A second call replaces the first setup, also for loggers in use.

    Warnings of Python become lines of the logger `py.warnings`.
    """
    logging.config.dictConfig(logging_config(settings))
    logging.captureWarnings(capture=True)
    configure_structlog(settings.log_level, json=use_json(settings.log_format))


def configure_structlog(level: str, *, json: bool) -> None:
    """Set up the loggers of `get_logger`: their level, and the fields of their lines."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_delivery,
            _add_trace,
            *_known_fields(json=json),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    forget_cached()


def apply_log_level(level: str) -> None:
    """Change the level of every logger in this process at once. The format and the handlers stay.

    Args:
        level: A value of STREAMS_LOG_LEVEL.
    """
    for name, one in logger_levels(level).items():
        logging.getLogger(name).setLevel(one)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    forget_cached()


def log_level() -> str:
    """Return the level in force, as STREAMS_LOG_LEVEL has it."""
    return logging.getLevelName(logging.getLogger().level).lower()


def forget_cached() -> None:
    """Apply the current configuration to every logger. Each one caches the configuration of its first line."""
    for logger in _loggers:
        vars(logger).pop("bind", None)


def logging_config(settings: Settings) -> dict[str, object]:
    """Return the `dictConfig` value for the standard library: every logger writes to stderr in this format.

    Faust's worker clears the root logger when it starts, and applies its setting `logging_config`: pass this value.
    """
    levels = logger_levels(settings.log_level)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {"()": line_formatter, "json": use_json(settings.log_format)},
        },
        # The current stderr: Faust's worker replaces sys.stderr with a logger later.
        "handlers": {"stderr": {"()": RepeatHandler, "formatter": "lines", "stream": sys.stderr}},
        "root": {"level": levels.pop(ROOT), "handlers": ["stderr"]},
        "loggers": {name: {"level": level} for name, level in levels.items()},
    }


def line_formatter(*, json: bool) -> logging.Formatter:
    """Return the format of a line, for the loggers of the standard library."""
    return structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(json=json)],
        foreign_pre_chain=[
            _add_extra,
            structlog.contextvars.merge_contextvars,
            _add_delivery,
            _add_trace,
            *_known_fields(json=json),
        ],
    )


def logger_levels(level: str) -> dict[str, str]:
    """Return the level of each logger whose level is set, `ROOT` included, for a value of STREAMS_LOG_LEVEL."""
    level = level.upper()
    quiet = level if level in {"DEBUG", "ERROR"} else "WARNING"
    # The debug lines of SQLAlchemy contain the rows.
    return {ROOT: level, **dict.fromkeys(_NOISY, quiet), "sqlalchemy": "INFO" if quiet == "DEBUG" else quiet}


def bind_delivery(fields: Callable[[], Mapping[str, object]], redactor: Redactor | None = None) -> None:
    """Bind a delivery's fields until this task ends, as `delivery_context` does. They are read when a line is written.

    `redactor` masks the values of its events' marked fields. None: there are no marked fields.
    """
    _delivery.set(fields)
    bind_redactor(redactor)


def has_delivery() -> bool:
    """Return whether this task, or the one that started it, works on a delivery."""
    return _delivery.get() is not None


@contextmanager
def delivery_context(  # noqa: PLR0913 - the fields of every line of a delivery
    *,
    event_id: UUID | str | None,
    topic: str,
    partition: int,
    offset: int,
    handler: str | None,
    attempt: int,
    tenant_id: str | None,
) -> Iterator[None]:
    """Add a delivery's fields to every line logged in this context, also in tasks that are started from it.

    Args:
        event_id: The id of the event. None: the record could not be decoded.
        topic: The origin's topic, so that it finds all attempts of a delivery. The same for the next two.
        partition: The origin's partition.
        offset: The origin's offset.
        handler: The handler's name.
        attempt: The number of the attempt.
        tenant_id: The event's tenant.
    """
    with structlog.contextvars.bound_contextvars(
        event_id=None if event_id is None else str(event_id),
        topic=topic,
        partition=partition,
        offset=offset,
        handler=handler,
        attempt=attempt,
        tenant_id=tenant_id,
    ):
        yield


def _add_extra(logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
    """Add what our modules pass as `extra` to loggers of the standard library. That of other libraries is noise."""
    return _ALL_EXTRA(logger, method, fields) if fields["_record"].name.startswith(_OWN) else fields


def _add_delivery(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    bound = _delivery.get()
    return fields if bound is None else {**bound(), **fields}


def _add_trace(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Add `trace_id`, and with an exporter of traces `span_id`, to the lines of what is in a trace."""
    found = current_trace()
    return {**found, **fields} if found else fields


def use_json(log_format: str) -> bool:
    """Return whether lines are JSON, for a value of STREAMS_LOG_FORMAT."""
    return log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())


def _known_fields(*, json: bool) -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if json else "%H:%M:%S", utc=json),
    ]


def _renderers(*, json: bool) -> list[Processor]:
    if json:
        return [
            _split_exception,
            _redact_fields,
            # "event" means a domain event here.
            structlog.processors.EventRenamer("message"),
            _order_fields,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
            cast("Processor", _escape_json_line),  # the last processor gets the line
        ]
    return [
        _mask_exception,
        _redact_fields,
        _escape_fields,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_print_traceback, pad_event_to=0),
    ]


def _order_fields(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    return {**{name: fields[name] for name in _FIRST if name in fields}, **fields}


def _redact_fields(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Mask the marked values of the task's events. Without such events, this costs one look-up."""
    redactor = current_redactor()
    if redactor is None:
        return fields
    return {name: value if name in _UNMASKED else redactor.redact_json(value) for name, value in fields.items()}


def _mask_exception(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Convert an exception to text if there are values to mask, for the console format."""
    if current_redactor() is not None and (error := exception_of(fields.get("exc_info"))) is not None:
        del fields["exc_info"]
        fields["exception"] = describe(error).stack
    return fields


def _escape_json_line(_logger: WrappedLogger, _method: str, line: str) -> str:
    """Escape the control characters that JSON allows: a terminal may show the line."""
    return escape_json(line)


def _escape_fields(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Escape control characters in texts, for the console format: data must not control the terminal."""
    return {name: _escaped(name, value) if isinstance(value, str) else value for name, value in fields.items()}


def _escaped(name: str, text: str) -> str:
    return "\n".join(escape_lines(text)) if name in _MULTILINE else escape_line(text)


def _print_traceback(output: TextIO, exc_info: ExcInfo) -> None:
    """Print a traceback whose messages cannot control the terminal."""
    whole = StringIO()
    structlog.dev.plain_traceback(whole, exc_info)
    output.write("\n".join(escape_lines(whole.getvalue())))


def _split_exception(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Replace `exc_info` with error_type, error_message and stack, as in dead letters and the ledger."""
    error = exception_of(fields.pop("exc_info", None))
    if error is not None:
        fields["error_type"], fields["error_message"], fields["stack"] = describe(error)
    return fields
