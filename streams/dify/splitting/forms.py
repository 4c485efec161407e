"""The forms of a document (documents.doc_form): what its text becomes, and which rows get vectors."""

from typing import Literal, cast, get_args

from streams.dify.errors import RefusedError
from streams.dify.splitting.hierarchical import parent_pieces
from streams.dify.splitting.piece import Piece
from streams.dify.splitting.rules import Rules
from streams.dify.splitting.text import text_pieces

Form = Literal["text_model", "hierarchical_model", "qa_model"]


def form_of(doc_form: str) -> Form:
    """The form by the platform's name. Raises RefusedError."""
    if doc_form not in get_args(Form):
        message = f"the document form {doc_form!r} is unknown; there is {', '.join(get_args(Form))}"
        raise RefusedError(message)
    return cast("Form", doc_form)


def pieces_of(text: str, form: Form, rules: Rules) -> tuple[Piece, ...]:
    """What a text becomes by the rules alone; those of `qa_model` have yet to be asked about.

    Raises RefusedError where the rules do not say what the form needs.
    """
    return parent_pieces(text, rules) if form == "hierarchical_model" else text_pieces(text, rules)
