"""The rights in PostgreSQL that each kind of process needs, as SQL; `deploy/sql` has the same files."""

from importlib.resources import files

FILES = ("roles.sql", "grants.sql")
"""The first is run before `streams db upgrade`, the second after each one."""


def rights_sql() -> str:
    """Return both files, one after the other."""
    return "\n".join((files(__name__) / name).read_text() for name in FILES)
