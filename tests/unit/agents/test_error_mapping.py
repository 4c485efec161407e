"""The texts of errors in rows that their owners read."""

import pytest
from sqlalchemy.exc import DataError, InvalidRequestError

from streams.agents.error_mapping import owner_message
from streams.dify.errors import RefusedError


@pytest.mark.requirement("Embedding and loading", "no SQL in the error of a document, a segment or a job")
def test_an_owner_sees_no_sql() -> None:
    """Of a database's error the first line of the server's own message is left, without statement, values and links."""
    driver = Exception('expected 8 dimensions, not 256\nLINE 1: INSERT INTO "embedding_x" (id) VALUES')
    error = DataError("INSERT INTO embedding_x (id, text) VALUES (%s, %s)", {"text": "private"}, driver)
    assert owner_message(error) == "the database failed: expected 8 dimensions, not 256"
    assert owner_message(DataError("select 1", {}, Exception())) == "the database failed: DataError"
    assert owner_message(InvalidRequestError("see https://example.com")) == "the database failed: InvalidRequestError"
    assert owner_message(RefusedError("the file is damaged")) == "the file is damaged"
    assert owner_message(ValueError()) == "ValueError"
