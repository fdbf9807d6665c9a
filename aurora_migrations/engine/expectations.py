"""Expectations of a file, checked in its transaction before it commits: if one isn't met, the file is rolled back.

Rows are counted up to one more than the expectation names, never further: while the file's locks are held, the count
depends on the expectation, not on the size of the table.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from aurora_migrations.engine.errors import VerificationFailed
from aurora_migrations.engine.options import RowsExpectation
from aurora_migrations.engine.postgres.protocol import BatchError, Command, Row
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.postgres.sqlstate import connection_lost, diagnose, kind_of, named_error

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "=": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
# PostgreSQL's errors about the COALESCE that we put around an expectation's query, reworded to be about the query.
_WRONG_SHAPE = {
    "42804": "a value that isn't a boolean (42804)",
    "42601": "more than one column (42601)",
    "21000": "more than one row (21000)",
}
LOCKED = "55P03"  # lock_timeout
_BEGIN = (Command("SAVEPOINT promises"), Command("SET LOCAL transaction_read_only = on"))
_END = (Command("ROLLBACK TO SAVEPOINT promises"), Command("RELEASE SAVEPOINT promises"))


@dataclass(frozen=True)
class Expectation:
    """A query of a verify file, its place (file:line:column), and its name: the comment above it, or its text."""

    name: str
    query: str
    place: str = ""


@dataclass(frozen=True)
class Check:
    """One expectation and what was found."""

    promise: str
    expected: str
    found: str
    true: bool
    place: str = ""
    sql: str = ""  # what would mend it, where that is known

    def to_dict(self) -> dict[str, object]:
        """It as JSON-able data."""
        return {name: value for name, value in asdict(self).items() if name != "sql" or value}

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        return f"{self.promise}: expected {self.expected}, found {self.found}{where}"


def check_expectations(
    session: Session, migration: str, file: str, rows: Sequence[RowsExpectation], queries: Sequence[Expectation]
) -> list[Check]:
    """Checks expectations in the open transaction, which is as before afterwards; VerificationFailed names all that
    aren't met or whose query fails. Each of the queries must return one row with one true boolean."""
    checks = [check_rows(session, expectation) for expectation in rows]
    checks += [_check_query(session, each) for each in queries]
    failed = [check for check in checks if not check.true]
    if failed:
        details = "; ".join(map(str, failed))
        raise VerificationFailed(
            f"{file}: {details}.",
            state="The file was rolled back as a whole; the database is as it was before it.",
            migration=migration,
            file=file,
            checks=[check.to_dict() for check in failed],
        )
    return checks


def check_rows(session: Session, expectation: RowsExpectation, faults: Collection[str] = ()) -> Check:
    """Compares the number of rows in the open transaction with an expectation. SQLSTATEs among `faults` are raised as
    errors, instead of failing the check."""
    promise, expected = str(expectation), f"{expectation.operator} {expectation.count}"
    try:
        ((name,),) = _read_only(session, Command("SELECT pg_catalog.to_regclass($1)", [expectation.table]))
        if name is None:
            return Check(promise, expected, "no such table", False)
        counted = f"SELECT pg_catalog.count(*) FROM (SELECT 1 FROM {name} LIMIT {expectation.count + 1}) AS counted"
        ((count,),) = _read_only(session, Command(counted))
    except BatchError as error:
        return _failed_check(promise, expected, error, promise, faults=faults)
    found = int(count or 0)
    more = " or more" if found > expectation.count else ""
    return Check(promise, expected, f"{found}{more}", _COMPARE[expectation.operator](found, expectation.count))


def _check_query(session: Session, expectation: Expectation) -> Check:
    """COALESCE makes the server check that the query has one row at most, one column, and is a boolean."""
    try:
        answer = _read_only(session, Command(f"SELECT COALESCE(({expectation.query}\n), NULL::boolean)"))
    except BatchError as error:
        return replace(
            _failed_check(expectation.name, "true", error, expectation.query, _WRONG_SHAPE), place=expectation.place
        )
    value = answer[0][0]
    words = {"t": "true", "f": "false", None: "no row, or NULL"}
    return Check(expectation.name, "true", words.get(value, str(value)), value == "t", expectation.place)


def _read_only(session: Session, command: Command) -> list[Row]:
    """The rows of a query that can change nothing, and whose failure leaves the transaction as it was."""
    try:
        return session.wire.execute_pipeline([*_BEGIN, command, *_END])[len(_BEGIN)]
    except BatchError as error:
        if not connection_lost(error.error):
            session.wire.execute_pipeline(_END)
        raise


def _failed_check(
    promise: str,
    expected: str,
    error: BatchError,
    text: str,
    known: Mapping[str, str] | None = None,
    faults: Collection[str] = (),
) -> Check:
    if connection_lost(error.error):
        raise named_error(error.error) from error
    found = diagnose(error.error, text.encode(), text.encode())
    if found.sqlstate in ("57014", *faults):
        raise kind_of(found, 0, 0)(
            f"{promise}: {found.message} ({found.sqlstate}).",
            state="The file was rolled back as a whole; the database is as it was before it.",
            sqlstate=found.sqlstate,
        )
    result = f"an error: {found.message} ({found.sqlstate})"
    if "COALESCE" in found.message or "subquery" in found.message:
        result = (known or {}).get(found.sqlstate or "", result)
    return Check(promise, expected, result, False)
