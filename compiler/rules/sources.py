"""Where PostgreSQL's documentation says what the rules say."""

_DOCS = "https://www.postgresql.org/docs/18/"


def locking(mode: str) -> str:
    """13.3.1 lists, for each lock mode, the commands that take it."""
    return f"{_DOCS}explicit-locking.html#LOCKING-TABLES (13.3.1 Table-Level Locks, {mode})"


def alter_table(section: str) -> str:
    """ALTER TABLE: each form says its lock, or else: "An ACCESS EXCLUSIVE lock is acquired"."""
    return page("altertable", section)


def page(command: str, section: str) -> str:
    """The page of an SQL command."""
    return f"{_DOCS}sql-{command}.html ({section})"


def silent(command: str, section: str) -> str:
    """A page that says what the command does but not which lock it takes: that comes from the server alone."""
    return f"{_DOCS}sql-{command}.html ({section}; the lock isn't documented: measured)"
