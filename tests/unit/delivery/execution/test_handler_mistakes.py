"""A wrong use of the API raises an error at once, with one line that says what to do."""

import pytest

from schemas import DocumentDeleted
from streams.delivery import Handler, Work, handles
from streams.testing import run
from tests.support.factories import an_event


class Missing:
    """A service that nothing provides."""


async def open_step(_event: DocumentDeleted, work: Work) -> None:
    async with work.step():
        pass


async def use_missing(_event: DocumentDeleted, work: Work) -> None:
    work.use(Missing)


async def use_session(_event: DocumentDeleted, work: Work) -> None:
    _ = work.session


SINGLE = handles(DocumentDeleted, name="h")
LONG = handles(DocumentDeleted, name="h", kind="long", resource=lambda event: event.document_id)


def test_a_long_handler_names_its_resource() -> None:
    with pytest.raises(TypeError, match="long handler open_step needs a resource"):
        handles(DocumentDeleted, kind="long")(open_step)


@pytest.mark.parametrize(
    ("handler", "error", "expected"),
    [
        (SINGLE(open_step), TypeError, r"h is no long handler: use work\.session"),
        (LONG(open_step), TypeError, "h opens a step: give an engine"),
        (LONG(use_session), TypeError, "h has no open transaction here: a long handler opens a step first"),
        (SINGLE(use_missing), LookupError, "nothing provides Missing; the composition root names"),
    ],
    ids=["step of a single", "step without an engine", "session of a long", "a missing service"],
)
async def test_a_tool_used_wrongly_says_what_to_do(
    handler: Handler[DocumentDeleted], error: type[Exception], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        await run(handler, an_event())
