"""Who changed a row by a command, as the tables show it."""

NOTED = "cast(:by as text) || ' (role ' || session_user || ')'"
"""SQL for a column: the account, its host and the command, which the parameter `by` says, and the database's role."""
