"""The rules of every statement but ALTER TABLE."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.rules.model import (
    ACCESS_EXCLUSIVE,
    ACCESS_SHARE,
    EXCLUSIVE,
    MODES,
    ROW_EXCLUSIVE,
    ROW_SHARE,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Answer,
    Rule,
)
from compiler.rules.sources import alter_table, locking, page, silent

NO, MAYBE, YES = Answer.NO, Answer.MAYBE, Answer.YES


def _rows() -> Iterator[Rule]:
    yield from _create_table()
    yield from _indexes()
    yield from _renamed_and_moved()
    yield from _dropped()
    yield from _attached()
    yield from _views()
    yield from _maintenance()
    yield from _described()
    yield from _data()
    yield from _sequences()


def _create_table() -> Iterator[Rule]:
    yield Rule(
        "CreateStmt",
        "",
        "the referenced table",
        SHARE_ROW_EXCLUSIVE,
        "a foreign key puts triggers on the table that it references",
        page("createtable", "REFERENCES: a SHARE ROW EXCLUSIVE lock on the referenced table"),
    )
    yield Rule(
        "CreateStmt",
        "",
        "PARTITION OF",
        ACCESS_EXCLUSIVE,
        "a partition that is created in place locks its parent (and a default partition, which is read); "
        "CREATE TABLE and then ATTACH PARTITION doesn't",
        page("createtable", "PARTITION OF"),
    )
    yield Rule(
        "CreateStmt",
        "",
        "INHERITS",
        SHARE_UPDATE_EXCLUSIVE,
        "the parent gets a child",
        silent("createtable", "INHERITS"),
    )
    yield Rule(
        "CreateStmt", "", "LIKE", ACCESS_SHARE, "the definition is copied, no rows", silent("createtable", "LIKE")
    )
    yield Rule(
        "CreateTableAsStmt",
        "",
        "",
        ACCESS_SHARE,
        "the new table is filled by a query, which reads this one",
        locking(ACCESS_SHARE),
        scans=MAYBE,
    )


def _indexes() -> Iterator[Rule]:
    create = page("createindex", "CONCURRENTLY; Building Indexes Concurrently")
    yield Rule(
        "IndexStmt",
        "",
        "",
        SHARE,
        "building an index reads the whole table and keeps writers out; CONCURRENTLY doesn't",
        create,
        scans=YES,
    )
    yield Rule(
        "IndexStmt",
        "",
        "ONLY",
        SHARE,
        "the index of a partitioned table alone holds no rows",
        page("createindex", "ONLY"),
        scans=MAYBE,
    )
    yield Rule(
        "IndexStmt",
        "",
        "CONCURRENTLY",
        SHARE_UPDATE_EXCLUSIVE,
        "building concurrently reads the table twice and waits for everyone who uses it, and stops nobody",
        create,
        scans=YES,
    )
    drop = page("dropindex", "CONCURRENTLY")
    yield Rule(
        "DropStmt",
        "OBJECT_INDEX",
        "",
        ACCESS_EXCLUSIVE,
        "dropping an index locks its table as well, which the statement doesn't name; CONCURRENTLY doesn't",
        drop,
    )
    yield Rule(
        "DropStmt",
        "OBJECT_INDEX",
        "CONCURRENTLY",
        SHARE_UPDATE_EXCLUSIVE,
        "dropping concurrently waits for everyone who uses the table, and stops nobody",
        drop,
    )
    reindex = page("reindex", "Notes; Rebuilding Indexes Concurrently")
    yield Rule(
        "ReindexStmt",
        "REINDEX_OBJECT_TABLE",
        "",
        SHARE,
        "rebuilding indexes keeps writers out, and readers too, as each index is locked; CONCURRENTLY doesn't",
        reindex,
        scans=YES,
        index_lock=ACCESS_EXCLUSIVE,
    )
    yield Rule(
        "ReindexStmt",
        "REINDEX_OBJECT_INDEX",
        "",
        ACCESS_EXCLUSIVE,
        "rebuilding an index keeps writers and readers of its table out, which the statement doesn't name",
        reindex,
        rewrites=YES,
        scans=YES,
    )
    for command in ("REINDEX_OBJECT_TABLE", "REINDEX_OBJECT_INDEX"):
        yield Rule(
            "ReindexStmt",
            command,
            "CONCURRENTLY",
            SHARE_UPDATE_EXCLUSIVE,
            "rebuilding concurrently waits for everyone who uses the table, and stops nobody",
            reindex,
            scans=YES,
        )


def _renamed_and_moved() -> Iterator[Rule]:
    rename = alter_table("Description, RENAME")
    for command, what in (
        ("OBJECT_TABLE", "a table"),
        ("OBJECT_COLUMN", "a column"),
        ("OBJECT_TABCONSTRAINT", "a constraint"),
    ):
        yield Rule(
            "RenameStmt",
            command,
            "",
            ACCESS_EXCLUSIVE,
            f"renaming {what} changes the catalogue only; code that uses the old name fails",
            rename,
        )
    for command, where in (
        ("OBJECT_VIEW", "alterview"),
        ("OBJECT_MATVIEW", "altermaterializedview"),
        ("OBJECT_SEQUENCE", "altersequence"),
        ("OBJECT_TRIGGER", "altertrigger"),
        ("OBJECT_RULE", "alterrule"),
        ("OBJECT_POLICY", "alterpolicy"),
    ):
        yield Rule(
            "RenameStmt", command, "", ACCESS_EXCLUSIVE, "renaming changes the catalogue only", silent(where, "RENAME")
        )
    yield Rule(
        "RenameStmt",
        "OBJECT_INDEX",
        "",
        SHARE_UPDATE_EXCLUSIVE,
        "renaming an index stops nobody",
        page("alterindex", "Description, RENAME: a SHARE UPDATE EXCLUSIVE lock"),
    )
    for command, where in (
        ("OBJECT_TABLE", "altertable"),
        ("OBJECT_VIEW", "alterview"),
        ("OBJECT_MATVIEW", "altermaterializedview"),
        ("OBJECT_SEQUENCE", "altersequence"),
    ):
        yield Rule(
            "AlterObjectSchemaStmt",
            command,
            "",
            ACCESS_EXCLUSIVE,
            "moving to another schema changes the catalogue only; code that uses the old name fails",
            silent(where, "SET SCHEMA") if command != "OBJECT_TABLE" else alter_table("Description, SET SCHEMA"),
        )


def _dropped() -> Iterator[Rule]:
    yield Rule(
        "DropStmt",
        "OBJECT_TABLE",
        "",
        ACCESS_EXCLUSIVE,
        "dropping a table is quick (tables it references, and a partition's parent, are locked as much)",
        locking(ACCESS_EXCLUSIVE),
    )
    for command, where in (
        ("OBJECT_VIEW", "dropview"),
        ("OBJECT_MATVIEW", "dropmaterializedview"),
        ("OBJECT_SEQUENCE", "dropsequence"),
    ):
        yield Rule(
            "DropStmt", command, "", ACCESS_EXCLUSIVE, "dropping it waits for its users", silent(where, "Description")
        )
    for command, where in (
        ("OBJECT_TRIGGER", "droptrigger"),
        ("OBJECT_RULE", "droprule"),
        ("OBJECT_POLICY", "droppolicy"),
    ):
        yield Rule(
            "DropStmt",
            command,
            "",
            ACCESS_EXCLUSIVE,
            "dropping it from its table changes the catalogue only",
            silent(where, "Description"),
        )


def _attached() -> Iterator[Rule]:
    yield Rule(
        "CreateTrigStmt",
        "",
        "",
        SHARE_ROW_EXCLUSIVE,
        "creating a trigger stops writers while the transaction lasts",
        locking(SHARE_ROW_EXCLUSIVE),
    )
    yield Rule(
        "CreateTrigStmt",
        "",
        "FROM",
        ACCESS_SHARE,
        "a constraint trigger names this table",
        silent("createtrigger", "FROM referenced_table_name"),
    )
    yield Rule(
        "RuleStmt",
        "",
        "",
        ACCESS_EXCLUSIVE,
        "creating a rule changes the catalogue only",
        silent("createrule", "Description"),
    )
    yield Rule(
        "RuleStmt",
        "",
        "read by its actions",
        ACCESS_SHARE,
        "a rule's actions are analysed, not run",
        locking(ACCESS_SHARE),
    )
    for statement, where in (("CreatePolicyStmt", "createpolicy"), ("AlterPolicyStmt", "alterpolicy")):
        yield Rule(
            statement,
            "",
            "",
            ACCESS_EXCLUSIVE,
            "a policy changes the catalogue only",
            silent(where, "Description"),
        )
        yield Rule(
            statement,
            "",
            "read by its expression",
            ACCESS_SHARE,
            "a policy's expression is analysed, not run",
            silent(where, "USING; WITH CHECK"),
        )
    yield Rule(
        "CreateStatsStmt",
        "",
        "",
        SHARE_UPDATE_EXCLUSIVE,
        "extended statistics are filled by the next ANALYZE",
        locking(SHARE_UPDATE_EXCLUSIVE),
    )
    for statement, where in (
        ("CreatePublicationStmt", "createpublication"),
        ("AlterPublicationStmt", "alterpublication"),
    ):
        yield Rule(
            statement,
            "",
            "",
            SHARE_UPDATE_EXCLUSIVE,
            "a publication's list of tables changes",
            silent(where, "FOR TABLE" if statement.startswith("Create") else "ADD, SET, DROP"),
        )


def _views() -> Iterator[Rule]:
    yield Rule(
        "ViewStmt",
        "",
        "OR REPLACE",
        ACCESS_EXCLUSIVE,
        "replacing a view stops its readers if it is there already; its tables go on",
        silent("createview", "Description, OR REPLACE"),
    )
    yield Rule(
        "ViewStmt",
        "",
        "the tables it reads",
        ACCESS_SHARE,
        "a view's query is analysed, not run",
        locking(ACCESS_SHARE),
    )
    yield Rule(
        "CreateFunctionStmt",
        "",
        "the tables its body reads",
        ACCESS_SHARE,
        "a body in SQL's own syntax is analysed, not run",
        locking(ACCESS_SHARE),
    )
    yield Rule(
        "RefreshMatViewStmt",
        "",
        "",
        ACCESS_EXCLUSIVE,
        "refreshing writes all of it anew and stops its readers; CONCURRENTLY doesn't (its tables: ACCESS SHARE)",
        locking(ACCESS_EXCLUSIVE),
        rewrites=YES,
        scans=YES,
    )
    yield Rule(
        "RefreshMatViewStmt",
        "",
        "CONCURRENTLY",
        EXCLUSIVE,
        "refreshing concurrently compares old and new, and lets readers go on (its tables: ACCESS SHARE)",
        locking(EXCLUSIVE),
        scans=YES,
    )


def _maintenance() -> Iterator[Rule]:
    yield Rule(
        "TruncateStmt",
        "",
        "",
        ACCESS_EXCLUSIVE,
        "TRUNCATE empties the table at once, without reading it (CASCADE: those that reference it, too)",
        locking(ACCESS_EXCLUSIVE),
    )
    for mode in MODES:
        yield Rule(
            "LockStmt",
            "",
            mode,
            mode,
            "the lock is held until the transaction ends",
            page("lock", "Description; lockmode"),
        )
    yield Rule(
        "VacuumStmt",
        "",
        "",
        SHARE_UPDATE_EXCLUSIVE,
        "VACUUM reads what has changed and stops nobody, but for a moment at the end to cut off empty pages",
        page("vacuum", "Description; TRUNCATE"),
        scans=MAYBE,
    )
    yield Rule(
        "VacuumStmt",
        "",
        "FULL",
        ACCESS_EXCLUSIVE,
        "VACUUM FULL rewrites the table and its indexes",
        page("vacuum", "FULL"),
        rewrites=YES,
        scans=YES,
    )
    yield Rule(
        "VacuumStmt",
        "",
        "ANALYZE",
        SHARE_UPDATE_EXCLUSIVE,
        "ANALYZE reads a sample and stops nobody",
        locking(SHARE_UPDATE_EXCLUSIVE),
    )
    yield Rule(
        "ClusterStmt",
        "",
        "",
        ACCESS_EXCLUSIVE,
        "CLUSTER rewrites the table and its indexes",
        page("cluster", "Description"),
        rewrites=YES,
        scans=YES,
    )


def _described() -> Iterator[Rule]:
    for command in ("TABLE", "COLUMN", "VIEW", "MATVIEW", "SEQUENCE", "INDEX"):
        yield Rule(
            "CommentStmt",
            f"OBJECT_{command}",
            "",
            SHARE_UPDATE_EXCLUSIVE,
            "a comment stops nobody",
            locking(SHARE_UPDATE_EXCLUSIVE),
        )
    for command in ("TABCONSTRAINT", "TRIGGER", "POLICY", "RULE"):
        yield Rule(
            "CommentStmt",
            f"OBJECT_{command}",
            "",
            ACCESS_SHARE,
            "a comment stops nobody",
            silent("comment", "Notes"),
        )
    for command in ("OBJECT_TABLE", "OBJECT_SEQUENCE"):
        yield Rule(
            "GrantStmt",
            command,
            "",
            ACCESS_SHARE,
            "privileges change in the catalogue only, and stop nobody",
            silent("grant", "Description"),
            since=18,
        )


def _data() -> Iterator[Rule]:
    yield Rule("SelectStmt", "", "", ACCESS_SHARE, "a query reads the table", locking(ACCESS_SHARE), scans=MAYBE)
    yield Rule(
        "SelectStmt",
        "",
        "FOR UPDATE",
        ROW_SHARE,
        "the rows it finds stay locked until the transaction ends",
        locking(ROW_SHARE),
        scans=MAYBE,
    )
    yield Rule("InsertStmt", "", "", ROW_EXCLUSIVE, "INSERT stops nobody", locking(ROW_EXCLUSIVE))
    for statement, word in (("UpdateStmt", "UPDATE"), ("DeleteStmt", "DELETE"), ("MergeStmt", "MERGE")):
        yield Rule(
            statement,
            "",
            "",
            ROW_EXCLUSIVE,
            f"the rows that {word} changes stay locked until the transaction ends",
            locking(ROW_EXCLUSIVE),
            scans=MAYBE,
        )
    yield Rule(
        "CopyStmt",
        "",
        "FROM",
        ROW_EXCLUSIVE,
        "COPY FROM stops nobody",
        page("copy", "COPY FROM; 13.3.1: a command that modifies data takes ROW EXCLUSIVE"),
    )
    yield Rule(
        "CopyStmt",
        "",
        "TO",
        ACCESS_SHARE,
        "COPY TO reads the whole table",
        page("copy", "COPY TO; 13.3.1: a command that only reads takes ACCESS SHARE"),
        scans=YES,
    )


def _sequences() -> Iterator[Rule]:
    yield Rule(
        "AlterSeqStmt",
        "",
        "",
        SHARE_ROW_EXCLUSIVE,
        "altering a sequence stops nextval() until the transaction ends",
        page("altersequence", "Notes: ALTER SEQUENCE blocks concurrent nextval, currval, lastval, and setval calls"),
    )
    yield Rule(
        "AlterSeqStmt",
        "",
        "OWNED BY",
        ACCESS_SHARE,
        "a sequence is tied to a column of the table",
        silent("altersequence", "OWNED BY"),
    )
    yield Rule(
        "CreateSeqStmt",
        "",
        "OWNED BY",
        ACCESS_SHARE,
        "a sequence is tied to a column of the table",
        silent("createsequence", "OWNED BY"),
    )
    for function in ("nextval", "setval"):
        yield Rule(
            "FuncCall",
            function,
            "",
            ROW_EXCLUSIVE,
            f"{function}() stops nobody",
            locking(ROW_EXCLUSIVE),
        )


RULES = tuple(_rows())
