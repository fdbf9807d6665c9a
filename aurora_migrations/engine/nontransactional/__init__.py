"""Statements that PostgreSQL refuses to run in a transaction, such as CREATE INDEX CONCURRENTLY.

    running      runs one, and records it
    intents      what was begun and isn't recorded as done; who runs it, cancels it, resolves it
    settlement   the catalogue before a statement, and what it shows after an interruption
    limits       the time limits that don't hold while such a statement runs
    decisions    what a person decides about one: resolve, cancel

Their record can't be committed with them. So an intent is committed first (`aurora_migrations.intents`), then the
statement runs, then the unit's record is committed, which deletes the intent. Where the run ended in between,
`settlement` asks the catalogue how far the statement got: it is done, is run again, or a person has to decide.
"""
