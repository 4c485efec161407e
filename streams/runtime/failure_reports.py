"""The reports to Sentry of a running worker, which also get what prevents its start."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from types import TracebackType

from streams.database.rights import missing_right
from streams.observability.sentry.engine_failures import sentry_reports
from streams.observability.sentry.reporter import SentryReports
from streams.settings.sentry import SentrySettings


class WorkerFailedError(Exception):
    """Raised inside the resources to close them as failed: the worker does not end cleanly."""


def open_reports(stack: AsyncExitStack, settings: SentrySettings | None) -> SentryReports | None:
    """Report to Sentry until the stack closes, which happens last. None: there is no DSN."""
    opened = ExitStack()
    stack.push_async_exit(partial(_close, opened))
    return opened.enter_context(sentry_reports(settings))


async def _close(
    opened: ExitStack, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    """Close the reports. An exception while the resources open is reported now: it is logged only afterwards."""
    if isinstance(error, WorkerFailedError) or (error is not None and missing_right(error) is not None):
        kind = error = trace = None
    await asyncio.to_thread(opened.__exit__, kind, error, trace)
