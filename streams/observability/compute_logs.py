"""The log of compute processes. They read files of strangers, with libraries that warn about what is in a file."""

import logging
import sys

from streams.observability.logs import configure_structlog, get_logger, line_formatter, use_json


def configure_compute_logging(log_format: str) -> None:
    """Set up logging for a process that reads files of strangers: errors only, in the format of the worker.

    Libraries warn about what is wrong in a file, and quote the file. Such lines are dropped, and so are the warnings of
    Python. No thread is started: the process is forked.

    Args:
        log_format: A value of STREAMS_LOG_FORMAT.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(line_formatter(json=use_json(log_format)))
    logging.basicConfig(handlers=[handler], level=logging.ERROR, force=True)
    logging.captureWarnings(capture=True)
    # Whatever level a library sets for its own loggers.
    logging.disable(logging.WARNING)
    configure_structlog("error", json=use_json(log_format))
    log = get_logger(__name__)
    sys.excepthook = lambda kind, error, trace: log.critical("compute process crashed", exc_info=(kind, error, trace))
    sys.unraisablehook = lambda found: log.error("error in a destructor", exc_info=found.exc_value)


def remove_library_handlers() -> None:
    """Remove the handlers of single loggers, so that all lines take the format of the root logger."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
