"""What a file has done to the catalogue and to rows, read in its own transaction and compared before that commits.

One query reads the facts that the file's replay has changed, and one how many rows it wrote, whatever its size; neither
scans a table. In nearly all cases the facts are there to the letter, which the server asserts before COMMIT, in one
message with it. Where they aren't, they are read and compared here. A fact that isn't as after the replay fails the
file, unless only dynamic SQL can have made it: what a DO block or a function does may depend on data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from aurora_migrations.engine.catalog.compare import Deviation, deviations, is_ignored, moved
from aurora_migrations.engine.catalog.facts import Facts, assertion, comment_on, facts_of, parts_of, query
from aurora_migrations.engine.errors import VerificationFailed
from aurora_migrations.engine.expectations import Check
from aurora_migrations.engine.history_format import SCHEMA
from aurora_migrations.engine.postgres.protocol import Command, Row
from aurora_migrations.engine.postgres.session import Server
from aurora_migrations.engine.script import Job, Script, Statement

# Statements that may do what can't be seen in them.
_DYNAMIC = frozenset(("CallStmt", "DoStmt", "ExecuteStmt", "SelectStmt"))
_PREPARING = _DYNAMIC | {"DeallocateStmt", "DiscardStmt", "PrepareStmt"}
_WRITING = _DYNAMIC | {"CopyStmt", "CreateTableAsStmt", "DeleteStmt", "InsertStmt", "MergeStmt", "UpdateStmt"}
_SHRINKING = _DYNAMIC | {"DeleteStmt", "MergeStmt", "TruncateStmt"}
_SHRINKS = re.compile(rb"\b(?:delete|merge|truncate)\b", re.IGNORECASE)  # in WITH, or in a rule that it makes
# Of the tables that the transaction has locked for writing; 16384 is the first oid that isn't PostgreSQL's own. Not of
# the history, which it may have written already. A partition's rows count for the table that the application knows, as
# an UPDATE may move them between partitions.
_ROWS = f"""
    SELECT COALESCE(pg_catalog.pg_partition_root(c.oid), c.oid)::pg_catalog.regclass, c.oid,
           pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid), pg_catalog.pg_stat_get_xact_tuples_updated(c.oid),
           pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid){{}}
      FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
     WHERE l.pid = pg_catalog.pg_backend_pid() AND l.relation >= 16384
       AND l.mode IN ('RowExclusiveLock', 'AccessExclusiveLock') AND c.relkind = 'r' AND c.relpersistence <> 't'
       AND c.relnamespace IS DISTINCT FROM pg_catalog.to_regnamespace('{SCHEMA}')
"""
ROWS = Command(_ROWS.format(""), keep=True)
# The same; fails (22012, division by zero) where more rows of a table were deleted than inserted. It counts each
# partition on its own, so it may fail where `judge` finds no loss, and never the other way round.
_MORE_ROWS = Command(
    _ROWS.format(
        ", 1 / (pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)"
        " <= pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid))::int"
    ),
    keep=True,
)
# What is counted is what the session hasn't reported yet, also of earlier transactions: so each reports its own.
REPORT = Command("SELECT pg_catalog.pg_stat_force_next_flush()")
SAVEPOINT, ROLLBACK_TO = Command("SAVEPOINT ours"), Command("ROLLBACK TO ours")
_NOTHING = Command("SELECT WHERE false")
# A plan is kept that was made when the catalogue was small, and a run can make it large.
_BY_INDEX = Command("SELECT pg_catalog.set_config('enable_seqscan', 'off', true)", keep=True)
_CAUSE = "The file made something else here than on an empty database."
_SOLUTION = (
    "Find out why: IF NOT EXISTS keeps an existing object, even with another definition; or somebody changed the "
    "object by hand.\n"
    "Correct the database or the file. To leave out what depends on data, add to the file: "
    "`-- verify: ignore KIND NAME because REASON`."
)
_ROLLED_BACK = "The file was rolled back as a whole; the database is as it was before it."
_SHOWN = 10  # deviations in the message


@dataclass(frozen=True)
class Rows:
    """How many rows of a table a file has written."""

    table: str
    inserted: int
    updated: int
    deleted: int

    def __sub__(self, before: Rows) -> Rows:
        written = self.inserted - before.inserted, self.updated - before.updated, self.deleted - before.deleted
        return Rows(self.table, *written)

    def __str__(self) -> str:
        counts = {"inserted": self.inserted, "updated": self.updated, "deleted": self.deleted}
        return f"{self.table}: {', '.join(f'{count} {verb}' for verb, count in counts.items() if count)}"


@dataclass(frozen=True)
class Effects:
    """What a file did: the rows that it wrote, and how it differs from its replay where that doesn't fail it."""

    rows: tuple[Rows, ...] = ()
    warnings: tuple[str, ...] = ()


def is_compared(job: Job, server: Server) -> bool:
    """Whether a file's effects are compared: where a replay has shown any."""
    change = job.script.change
    return change is not None and (not change.is_empty or writes_rows(job, server.major))


def commands_for(job: Job, server: Server) -> list[Command]:
    """What to read of a file's effects, if they are compared, in its transaction and after `OURS`."""
    change = job.script.change
    assert change is not None
    facts = _NOTHING if change.is_empty else query(change.keys, server.schema)
    return [_BY_INDEX, facts, *([ROWS] if writes_rows(job, server.major) else [])]


def assertions(job: Job, server: Server) -> list[Command]:
    """What fails with a DataError, such as division by zero, unless a file has done exactly what its replay did; after
    `SAVEPOINT`. The last one's answer is the rows, if they are counted. Empty where names of schemas may differ."""
    change = job.script.change
    if change is None or server.schema != "public":
        return []
    asserted = [] if change.is_empty else [_BY_INDEX, assertion(change.expected, change.dropped)]
    rows = [ROWS if _may_shrink(job) else _MORE_ROWS] if writes_rows(job, server.major) else []
    return [*asserted, *rows]


def effects_asserted(job: Job, server: Server, answers: Sequence[Sequence[Row]]) -> Effects:
    """What a file has done, by the answers to its assertions."""
    return Effects(sums(answers[-1])) if writes_rows(job, server.major) else Effects()


def writes_rows(job: Job, major: int) -> bool:
    """Whether rows are counted: of a replayed file that is one unit and may write some. Older servers can't tell one
    transaction's from another's."""
    script = job.script
    one = script.change is not None and len(script.units) == 1 and not job.detaches and major >= 15
    return one and not script.kinds.isdisjoint(_WRITING)


def may_set_limits(job: Job) -> bool:
    """Whether the file may have left timeouts of its own, which are none of ours."""
    return not job.script.kinds.isdisjoint({"VariableSetStmt", *_DYNAMIC})


def prepares_nothing(job: Job) -> bool:
    """Whether a file certainly leaves no prepared statement in the session, and removes none of ours."""
    return job.script.kinds.isdisjoint(_PREPARING)


def judge(job: Job, answers: Sequence[Sequence[Row]], server: Server, read_all: Callable[[], Facts]) -> Effects:
    """What a file did, by the answers to its commands.

    Args:
        read_all: reads all facts of the database; only called where names made up by PostgreSQL may differ.

    Raises:
        VerificationFailed: it isn't what the replay of the file did, or a table has fewer rows and no statement of the
            file removes any.
    """
    change, ignored = job.script.change, job.script.options.ignore
    assert change is not None
    _, facts, *rows_of_tables = answers
    found, same_major = facts_of(facts), job.replayed_on == server.major

    def compare() -> list[Deviation]:
        elsewhere = moved(found, server.schema)
        differing = deviations(change.expected, change.dropped, found, same_major, elsewhere)
        return [each for each in differing if not is_ignored(each.key, ignored)]

    differing = compare()
    if not same_major and any(each.found is None for each in differing):
        found = read_all()
        differing = compare()
    rows = sums(rows_of_tables[0]) if rows_of_tables else ()
    failed, warnings = list[Check](), list[str]()
    for each in differing:
        statement = find_statement(job.script, job.text, each)
        expected, seen = each.in_words()
        if statement is None and runs_dynamic_sql(job.script):
            warnings.append(f"{job.file}: {each.name}: expected {expected}, found {seen}")
        else:
            place = f"{job.file}:{statement.line}:{statement.column}" if statement else ""
            failed.append(Check(each.name, expected, seen, False, place))
    failed += [] if _may_shrink(job) else [_shrunk(each) for each in rows if each.deleted > each.inserted]
    failed = [each for each in failed if not _rows_ignored(each, job)]
    if failed:
        more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise VerificationFailed(
            f"{job.file}: {'; '.join(map(str, failed[:_SHOWN]))}{more}.",
            cause=_CAUSE,
            solution=_SOLUTION,
            state=_ROLLED_BACK,
            checks=[check.to_dict() for check in failed[:_SHOWN]],
            **job.facts,
        )
    return Effects(rows, tuple(warnings))


def sums(found: Sequence[Row]) -> tuple[Rows, ...]:
    """By table, those with the most rows first."""
    sums: dict[str, list[int]] = {}
    for table, _, *counts in {row[:5] for row in found}:  # a table has a row for each of its locks
        known = sums.get(str(table), [0, 0, 0])
        sums[str(table)] = [one + int(str(other)) for one, other in zip(known, counts, strict=True)]
    written = (Rows(table, *counts) for table, counts in sums.items() if any(counts))
    return tuple(sorted(written, key=lambda each: (-each.inserted - each.updated - each.deleted, each.table)))


def runs_dynamic_sql(script: Script) -> bool:
    """Whether a file may do what can't be seen in it, which may depend on data."""
    return not script.kinds.isdisjoint(_DYNAMIC)


def find_statement(script: Script, file: bytes, deviation: Deviation) -> Statement | None:
    """The statement that most likely made a fact: the last that names the object, else its table. None if none does, as
    where dynamic SQL made it."""
    for names in _names(deviation):
        for statement in reversed(script.statements):
            text = file[statement.start : statement.end]
            if statement.kind not in _DYNAMIC and all(_names_it(text, name) for name in names):
                return statement
    return None


def _names(deviation: Deviation) -> Iterator[list[str]]:
    """Names by which a statement may name the object; the most exact first."""
    kind, identity = deviation.key
    if kind == "comment":
        kind, identity = comment_on(identity)
    own = parts_of(identity)
    yield own[1:] or own
    definition = deviation.expected or deviation.found or ""
    if kind in ("index", "partitioned index"):
        yield own[-1:]
        # Its table; the index of its parent, which one statement makes for all partitions.
        related = re.findall(r" (?:ON(?: ONLY)?|PARTITION OF) (\S+)", definition)
    elif kind == "sequence":
        related = re.findall(r" OWNED BY (\S+)", definition)
    else:
        related = re.findall(r"\A(?:PARTITION OF|INHERITS) ([^\s,]+)", definition)
        yield own[1:2]  # the table of a column or a constraint
    for name in related:
        yield parts_of(name)[1:2]


def _names_it(text: bytes, name: str) -> bool:
    pattern = rb'(?<![\w$])"?' + re.escape(name.replace('"', '""').encode()) + rb'"?(?![\w$])'
    return bool(name) and re.search(pattern, text, re.IGNORECASE) is not None


def _may_shrink(job: Job) -> bool:
    statements = job.script.statements
    return any(each.kind in _SHRINKING or _SHRINKS.search(job.text, each.start, each.end) for each in statements)


def _shrunk(rows: Rows) -> Check:
    return Check(
        f"rows {rows.table}", "none removed, as no statement of the file does", f"{rows.deleted} deleted", False
    )


def _rows_ignored(check: Check, job: Job) -> bool:
    kind, _, identity = check.promise.partition(" ")
    return kind == "rows" and is_ignored((kind, identity), job.script.options.ignore)
