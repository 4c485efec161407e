"""Decides what of a record is still written after the database or Kafka has rejected it. No I/O.

A record must never stop its partition. So each rejection takes something away that may be its cause, until the dead
letter is accepted: the arguments in the row, the value, the headers, the row.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError

from streams import headers
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.storage import StorageAwayError
from streams.transport.kafka.records import ProduceError

log = get_logger(__name__)
_DATA_ERRORS = ("22", "23", "54")
"""SQLSTATE classes of values that the database cannot take: data, constraints (no partition, too), limits."""


@dataclass(frozen=True, slots=True)
class Form:
    """What is written of a record and its delivery."""

    args: bool = True
    """The arguments in the row."""
    value: bool = True
    """The value in the record. Otherwise it is in the storage, if that is possible."""
    headers: bool = True
    """The record's own headers."""
    row: bool = True
    """The row in the ledger. Without it, `on_dead` is not called."""

    @property
    def omitted(self) -> str | None:
        """The value of the header `__dlq.errors.omitted`; None: the dead letter is complete."""
        names = [name for name, kept in (("value", self.value), ("headers", self.headers)) if not kept]
        return ",".join(names) or None


COMPLETE = Form()
BARE = Form(args=False, headers=False)
"""For a record that ended its process in each run: it is not looked into any more than needed."""


REJECTIONS_UNTIL_REDUCED = 2
"""Tries after which a rejection by Kafka counts: the cause of the first may be another record of the same batch."""


class Reduction:
    """The form of one record over all tries of its settlement."""

    def __init__(self, form: Form = COMPLETE) -> None:
        self.form = form
        self._rejections = 0

    def reduce(self, error: Exception) -> None:
        """Continue with less of the record after a rejection. Raises `error` if the same form has to wait."""
        form = reduced(self.form, error)
        if form is None:
            raise error
        if isinstance(error, ProduceError):
            self._rejections += 1
            if self._rejections < REJECTIONS_UNTIL_REDUCED:
                raise error
            self._rejections = 0
        log.error("a record cannot be settled as it is", error=message(error), omitted=form.omitted)
        self.form = form

    async def run(self, settle: Callable[[], Awaitable[None]]) -> None:
        """Settle, and again with less where that was rejected. Raises what is no rejection of the record."""
        while True:
            try:
                await settle()
            except Exception as error:  # noqa: BLE001 - raised again unless less can be written
                self.reduce(error)
            else:
                return


def reduced(form: Form, error: Exception) -> Form | None:
    """Return the next form to try after a rejection; None: the cause is not the record, so the same form waits.

    Args:
        form: The form that was rejected.
        error: The rejection.
    """
    if isinstance(error, ProduceError):
        return _smaller(form) if error.rejects_record else None
    if isinstance(error, TimeoutError | StorageAwayError):
        return None
    if isinstance(error, SQLAlchemyError) and not is_data_error(error):
        return None
    if form.args:
        return replace(form, args=False)
    if form.row:
        return replace(form, row=False)
    return _smaller(form)


def _smaller(form: Form) -> Form | None:
    if form.value:
        return replace(form, value=False)
    return replace(form, headers=False) if form.headers else None


def is_data_error(error: BaseException) -> bool:
    """Return whether the values of one record caused a database error, so that a repetition fails, too."""
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlstate", None)
    # Without a code the driver could not even send the values, such as a text with NUL.
    return code.startswith(_DATA_ERRORS) if isinstance(code, str) else isinstance(error, DataError)


def kept_headers(record_headers: headers.Headers, form: Form) -> headers.Headers:
    """Return a record's own headers for its dead letter, without those of earlier hops."""
    if not form.headers:
        return ()
    return headers.without(record_headers, headers.STREAMS_PREFIX, headers.DLQ_PREFIX, headers.SPRING_PREFIX)
