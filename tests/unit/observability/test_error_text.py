"""The texts of exceptions in logs, the ledger and dead letters."""

import psycopg
import pytest
from sqlalchemy.exc import DataError, InvalidRequestError

from streams.delivery import Permanent
from streams.observability.error_text import MESSAGE_LIMIT, STACK_LIMIT, describe, owner_message


def raised(error: BaseException, cause: BaseException | None = None, *, suppress: bool = False) -> BaseException:
    """The error as it is caught: raised from a cause, or while another one is handled."""
    try:
        if cause is None and not suppress:
            raise error
        raise error from cause
    except type(error) as caught:
        return caught


def test_type_message_and_stack() -> None:
    """Module and class, one line, and the stack with the line that raised."""
    told = describe(raised(Permanent("the file\n  is empty")))
    assert told.type_name == "streams.delivery.Permanent"
    assert told.message == "the file is empty"
    assert "    raise error\n" in told.stack
    assert told.stack.endswith("streams.delivery.Permanent: the file is empty")


def test_built_in_types_have_no_module() -> None:
    """An exception without a message has an empty text."""
    told = describe(ValueError())
    assert (told.type_name, told.message, told.stack) == ("ValueError", "", "ValueError:")


def test_causes_come_first() -> None:
    """The same as Python prints."""
    told = describe(raised(Permanent("cannot be read"), cause=raised(OSError("disk"))))
    assert told.stack.index("OSError: disk") < told.stack.index("Permanent: cannot be read")


def test_a_suppressed_context_is_left_out() -> None:
    """`raise … from None` suppresses the context."""
    try:
        int("inner")
    except ValueError:
        told = describe(raised(Permanent("outer")))
        bare = describe(raised(Permanent("outer"), suppress=True))
    context = "base 10: 'inner'"
    assert context in told.stack
    assert context not in bare.stack


def test_a_cause_that_is_its_own_ends() -> None:
    """A cycle of causes can be built by hand. It must not cause an endless loop."""
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert describe(one).stack == "ValueError: other\nValueError: one"


def test_long_texts_are_capped_in_bytes() -> None:
    """A message keeps its beginning. A stack keeps its innermost frames."""

    def deeper(levels: int) -> None:
        if levels == 0:
            raise ValueError("ü" * MESSAGE_LIMIT)
        if levels % 2:
            deeper(levels - 1)
        else:
            list(map(deeper, [levels - 1]))

    try:
        deeper(150)
    except ValueError as error:
        told = describe(error)
    assert MESSAGE_LIMIT - 3 <= len(told.message.encode()) <= MESSAGE_LIMIT
    assert told.message.startswith("üü")
    assert told.message.endswith("…")
    assert STACK_LIMIT - 3 <= len(told.stack.encode()) <= STACK_LIMIT
    assert told.stack.endswith(f"ValueError: {told.message}")


def test_a_database_error_tells_no_parameters() -> None:
    """They are the tenants' data. The server's own message is enough."""
    error = DataError("INSERT INTO t VALUES (%(a)s)", {"a": "secret"}, ValueError("value too long"))
    told = describe(raised(error))
    assert told.type_name == "sqlalchemy.exc.DataError"
    assert told.message == "value too long"
    assert "secret" not in told.stack


@pytest.mark.requirement("Extraction", "a document's error is one line, and never a statement of the database")
@pytest.mark.parametrize(
    "error",
    [
        DataError("INSERT INTO tickets VALUES (%s)", ["secret"], psycopg.errors.NotNullViolation("Key (a)=(secret)")),
        psycopg.errors.NotNullViolation("Failing row contains (secret)"),
        InvalidRequestError("INSERT INTO tickets"),
    ],
)
def test_owners_see_no_words_of_the_database(error: Exception) -> None:
    """Its statements, tables and values of rows are for the operator."""
    kind = "InvalidRequestError" if isinstance(error, InvalidRequestError) else "NotNullViolation"
    assert owner_message(error) == f"the database stopped the work ({kind}); the operator's log has the reason"


def test_owners_see_one_line_of_any_other_error() -> None:
    """An exception without a message is named."""
    assert owner_message(Permanent("the file\n  is empty")) == "the file is empty"
    assert owner_message(ValueError()) == "ValueError"
    assert len(owner_message(ValueError("é" * 5000)).encode()) <= MESSAGE_LIMIT
