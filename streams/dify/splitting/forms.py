"""The forms of a document (documents.doc_form). The form decides how a text is split and which rows get vectors."""

from collections.abc import Sequence
from typing import Literal, cast, get_args

from streams.dify.errors import RefusedError
from streams.dify.extraction.result import Part
from streams.dify.splitting.hierarchical import parent_pieces
from streams.dify.splitting.piece import Piece
from streams.dify.splitting.rules import Rules
from streams.dify.splitting.text import text_pieces

Form = Literal["text_model", "hierarchical_model", "qa_model"]


def form_of(doc_form: str) -> Form:
    """Return the form with the platform's name. Raises RefusedError."""
    if doc_form not in get_args(Form):
        message = f"the document form {doc_form!r} is unknown; known forms: {', '.join(get_args(Form))}"
        raise RefusedError(message)
    return cast("Form", doc_form)


def pieces_of(parts: Sequence[Part], form: Form, rules: Rules) -> list[Piece]:
    """Split the parts of a text by the rules. The pieces of `qa_model` are sent to a chat model afterwards.

    No piece crosses a part, except the one parent of a `full-doc` rule. Raises RefusedError if the rules do not contain
    what the form needs.
    """
    return parent_pieces(parts, rules) if form == "hierarchical_model" else text_pieces(parts, rules)
