"""Log lines: JSON for machines, readable ones on a terminal, one format for all libraries, on stderr.

Every line of a delivery carries its event_id, topic, partition, offset, handler, attempt and tenant_id: they are bound
to the task by `delivery_context`, so code that logs never passes them on. What is marked as personal or secret in the
delivery's event is masked in its lines, a handler's own included (`streams.observability.redaction`).
"""

import logging.config
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast
from uuid import UUID
from weakref import WeakSet

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from streams.observability.error_text import describe
from streams.observability.redaction import Redactor, bind_scrub, bound_scrub
from streams.settings import Settings

_QUIET = ("aiokafka", "asyncio", "faust", "mode", "sqlalchemy", "httpx", "httpx2")
"""Libraries whose informational lines tell an operator nothing; they are shown with STREAMS_LOG_LEVEL=debug."""

_delivery: ContextVar[Callable[[], Mapping[str, object]] | None] = ContextVar("delivery", default=None)

_loggers: WeakSet[FilteringBoundLogger] = WeakSet()

_FIRST = ("timestamp", "level", "message", "logger")
_OURS = frozenset(
    {"timestamp", "level", "logger", "event_id", "topic", "partition", "offset", "handler", "attempt", "tenant_id"}
)
"""Fields that no line can do without, and that never come from a marked field."""


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger by module name. Call it with a sentence and fields: `log.info("tier read", topic=…, records=…)`."""
    logger = cast("FilteringBoundLogger", structlog.stdlib.get_logger(name))
    _loggers.add(logger)
    return logger


def configure_logging(settings: Settings) -> None:
    """Set up logging for this process; calling it again replaces what was set, for loggers in use too."""
    logging.config.dictConfig(logging_config(settings))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_delivery,
            *_known_fields(json=_wants_json(settings)),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    forget_cached()


def forget_cached() -> None:
    """Let every logger follow what is configured now: each has kept what was in force at its first line."""
    for logger in _loggers:
        vars(logger).pop("bind", None)


def logging_config(settings: Settings) -> dict[str, object]:
    """The standard library's `dictConfig` value: every logger's lines go to stderr in our format.

    Faust clears the root logger when its worker starts and applies its setting `logging_config`: hand it this one.
    """
    level = settings.log_level.upper()
    quiet = level if level in {"DEBUG", "ERROR"} else "WARNING"
    json = _wants_json(settings)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "lines": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *_renderers(json=json),
                ],
                "foreign_pre_chain": [
                    structlog.contextvars.merge_contextvars,
                    _add_delivery,
                    *_known_fields(json=json),
                ],
            }
        },
        # Standard error as it is now: Faust's worker puts a logger in the place of sys.stderr later.
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines", "stream": sys.stderr}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            **{name: {"level": quiet} for name in _QUIET},
            # Its debugging lines are the rows themselves.
            "sqlalchemy": {"level": "INFO" if quiet == "DEBUG" else quiet},
        },
    }


def bind_delivery(fields: Callable[[], Mapping[str, object]], scrub: Redactor | None = None) -> None:
    """Bind a delivery's fields as `delivery_context` does, until this task ends; asked for when a line is written.

    `scrub` masks what its events have in marked fields; None: they have none.
    """
    _delivery.set(fields)
    bind_scrub(scrub)


@contextmanager
def delivery_context(  # noqa: PLR0913 - the fields that every line of a delivery carries
    *,
    event_id: UUID | str | None,
    topic: str,
    partition: int,
    offset: int,
    handler: str | None,
    attempt: int,
    tenant_id: str | None,
) -> Iterator[None]:
    """Bind a delivery's fields to every line logged in this task, and in tasks started from it, until it ends.

    `topic`, `partition` and `offset` are the origin's, so that all attempts of a delivery are found by them.
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


def _add_delivery(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    bound = _delivery.get()
    return fields if bound is None else {**bound(), **fields}


def _wants_json(settings: Settings) -> bool:
    return settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())


def _known_fields(*, json: bool) -> list[Processor]:
    return [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if json else "%H:%M:%S", utc=json),
    ]


def _renderers(*, json: bool) -> list[Processor]:
    if json:
        return [
            _tell_exception,
            _scrub_line,
            # "event" is a domain event's word here.
            structlog.processors.EventRenamer("message"),
            _first_things_first,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    return [
        _tell_masked,
        _scrub_line,
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        ),
    ]


def _first_things_first(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    return {**{name: fields[name] for name in _FIRST if name in fields}, **fields}


def _scrub_line(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Mask what the events under way have in marked fields; a task without such events pays one look."""
    scrub = bound_scrub()
    if scrub is None:
        return fields
    return {name: value if name in _OURS else scrub.inside(value) for name, value in fields.items()}


def _tell_masked(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """For a terminal: tell an exception as text, which can be masked, where there is something to mask."""
    if bound_scrub() is not None and (error := _given_error(fields.get("exc_info"))) is not None:
        del fields["exc_info"]
        fields["exception"] = describe(error).stack
    return fields


def _tell_exception(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Replace `exc_info` by error_type, error_message and stack, in the words of dead letters and ledger."""
    error = _given_error(fields.pop("exc_info", None))
    if error is not None:
        fields["error_type"], fields["error_message"], fields["stack"] = describe(error)
    return fields


def _given_error(given: object) -> BaseException | None:
    if isinstance(given, BaseException):
        return given
    if not given:
        return None
    found = given[1] if isinstance(given, tuple) else sys.exc_info()[1]
    return found if isinstance(found, BaseException) else None
