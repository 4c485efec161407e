"""The rights in PostgreSQL that each kind of process needs, as SQL; `deploy/sql` has the same files.

And the sentence for a right that is missing. Loads no driver: each command imports this module.
"""

from importlib.resources import files

FILES = ("roles.sql", "grants.sql")
"""The first is run before `streams db upgrade`, the second after each one."""


_MISSING = "InsufficientPrivilege"
"""The driver's error for a right that the database's account lacks. Compared by name: importing it takes too long."""


def rights_sql() -> str:
    """Return both files, one after the other."""
    return "\n".join((files(__name__) / name).read_text() for name in FILES)


def grants_sql() -> str:
    """Return the rights in the schema `streams`, to be executed by its owner."""
    return (files(__name__) / FILES[1]).read_text()


def missing_right(error: BaseException) -> str | None:
    """Return one line about a right that the database's account lacks. None: the error has another cause.

    Args:
        error: What SQLAlchemy raised.
    """
    refused = getattr(error, "orig", None)
    if type(refused).__name__ != _MISSING:
        return None
    what = (str(refused).splitlines() or ["permission denied"])[0]
    return f"{what}: the account of STREAMS_DATABASE_URL lacks a right; `streams acls --format sql` has all of them"
