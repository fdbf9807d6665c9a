"""Why a file can't be replayed though nothing is wrong with it: it needs what only the real server has."""

from __future__ import annotations

import re

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.script import Script

MISSING_ROLE = re.compile(r'role "(.+?)" does not exist')
DEPENDED_ROLE = re.compile(r'role "(.+?)" cannot be dropped because some objects depend on it')
EXISTING_ROLE = re.compile(r'role "(.+?)" already exists')
MISSING_DATABASE = re.compile(r'database "(.+?)" does not exist')
_PLACE = re.compile(r"^[^:\n]+\.sql(?::\d+:\d+|, at COMMIT)?: ")  # of an error, in its message
# By the server's message.
_EXTENSION = re.compile(r'extension "([^"]+)" (?:is not available|has no installation script)|extension control file "')
# What a PostgreSQL may be built or started without.
_LACKING = re.compile(
    r"not supported in this build|compression method \S+ not supported|unsupported XML feature|must be loaded via"
    r'|could not create locale|collation ".+?" for encoding ".+?" does not exist'
)
# By class or code of SQLSTATE.
_REASONS = {
    "08": "it connects to another server",
    "58": "it needs a file or a library of the real server",
    "HV": "it connects to another server",
    "38": "it calls what is outside of the database",
}
# What is undefined may have been made by a file that couldn't be replayed.
_UNDEFINED = frozenset({"42P01", "42703", "42704", "42883", "3F000", "42P02", "42P17", "0A000"})


# Statements that change more than the database, and where a replay doesn't run them.
_OUTSIDE = "it connects to another server, or changes the server's own configuration"
_WHOLE_SERVER = "it changes the whole server, which a replay doesn't do on a server of yours"
_LOCKS_OUT = "it changes the role that replays, which could then replay nothing else"
_OWN_ROLE = re.compile(
    rb'\b(?:role|user)\s+(?:current_user|current_role|session_user|"?postgres"?)(?!\w)', re.IGNORECASE
)
_FILE = "it reads or writes a file of the real server, or runs a program there"
_COPIES_FILE = re.compile(rb"\b(?:to|from)\s+(?:program\s+)?(?:'|e'|u&'|\$)", re.IGNORECASE)
_NOWHERE = frozenset({"AlterSubscriptionStmt", "AlterSystemStmt", "CreateSubscriptionStmt", "ImportForeignSchemaStmt"})
_NOT_ON_YOURS = frozenset(
    (
        *("AlterDatabaseSetStmt", "AlterDatabaseStmt", "AlterRoleSetStmt", "AlterRoleStmt", "CreateTableSpaceStmt"),
        *("CreatedbStmt", "DropRoleStmt", "DropTableSpaceStmt", "DropdbStmt", "GrantRoleStmt", "ReassignOwnedStmt"),
    )
)


def why_not_run(script: Script, text: bytes, *, is_ours: bool) -> str:
    """Why a file of this text isn't run at all in a replay, so far as its statements show it; empty if it is."""
    kinds = {statement.kind for statement in script.statements}
    own = (each for each in script.statements if each.kind == "AlterRoleStmt")
    if any(_OWN_ROLE.search(text, each.start, each.end) for each in own):
        return _LOCKS_OUT
    if any(each.kind == "CopyStmt" and _COPIES_FILE.search(text, each.start, each.end) for each in script.statements):
        return _FILE
    if kinds & _NOWHERE:
        return _OUTSIDE
    return _WHOLE_SERVER if kinds & _NOT_ON_YOURS and not is_ours else ""


def why_unreplayable(error: MigratorError) -> str:
    """Why a file that fails says nothing about the history; empty if it does."""
    what = without_place(error.message)
    if found := _EXTENSION.search(what):
        name = f"the extension {found[1]}" if found[1] else "an extension"
        return f"it needs {name}, which the embedded PostgreSQL doesn't have: {what}"
    if _LACKING.search(what):
        return f"it needs what this PostgreSQL was built or started without: {what}"
    reason = _REASONS.get(str(error.facts.get("sqlstate", ""))[:2])
    return f"{reason}: {what}" if reason else ""


def depends_on_missing(error: MigratorError) -> bool:
    """Whether something that it needs isn't there."""
    return error.facts.get("sqlstate") in _UNDEFINED


def without_place(message: str) -> str:
    """An error's message without the place in its file."""
    return _PLACE.sub("", message).rstrip(".")
