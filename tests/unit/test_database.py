"""Where the ledger is, and which revision of it this code needs."""

from pathlib import Path

import pytest
from pydantic import SecretStr

import streams.database.migrations.versions
from streams.database import database_url
from streams.database.engines import REVISION
from streams.settings import Settings, SettingsError


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://app:secret@db.example:5433/platform",
        "postgres://app:secret@db.example:5433/platform",
        "postgresql+psycopg://app:secret@db.example:5433/platform",
    ],
)
def test_every_spelling_of_postgresql_is_taken(given: str) -> None:
    url = database_url(Settings(database_url=SecretStr(given)))
    assert url.render_as_string(hide_password=False) == "postgresql+psycopg://app:secret@db.example:5433/platform"


@pytest.mark.parametrize("given", ["mysql://app:secret@db.example/platform", "nonsense"])
def test_anything_else_is_refused_by_name_and_without_its_password(given: str) -> None:
    with pytest.raises(SettingsError, match="STREAMS_DATABASE_URL") as refused:
        database_url(Settings(database_url=SecretStr(given)))
    assert "secret" not in str(refused.value)


def test_the_revision_needed_is_the_newest_migration() -> None:
    files = Path(streams.database.migrations.versions.__path__[0]).glob("[0-9]*.py")
    assert max(file.name for file in files).startswith(f"{REVISION}_")
