"""The rules of ALTER TABLE, and of ALTER VIEW, INDEX and MATERIALIZED VIEW where they share its tree."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.rules.model import (
    ACCESS_EXCLUSIVE,
    ACCESS_SHARE,
    SHARE_ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    Answer,
    Rule,
)
from compiler.rules.sources import alter_table, page, silent

NO, MAYBE, YES = Answer.NO, Answer.MAYBE, Answer.YES

REPLACED = "the table referenced by a foreign key that is replaced"

_ADD = alter_table("Description, ADD COLUMN; Notes")
_CONSTRAINT = alter_table("Description, ADD table_constraint")


def _row(command: str, when: str, lock: str, why: str, source: str, **facts: Answer | int) -> Rule:
    return Rule("AlterTableStmt", command, when, lock, why, source, **facts)  # type: ignore[arg-type]


def _exclusive(command: str, when: str, why: str, source: str, **facts: Answer | int) -> Rule:
    return _row(command, when, ACCESS_EXCLUSIVE, why, source, **facts)


def _rows() -> Iterator[Rule]:
    yield from _add_column()
    yield from _columns()
    yield from _add_constraint()
    yield from _constraints()
    yield from _storage()
    yield from _behaviour()
    yield from _foreign_tables()
    yield from _inheritance()
    yield from _indexes_and_views()


def _add_column() -> Iterator[Rule]:
    def rule(when: str, why: str, **facts: Answer | int) -> Rule:
        return _exclusive("AT_AddColumn", when, f"adding a column {why}", _ADD, **facts)

    yield rule("no default", "without a default changes the catalogue only")
    yield rule("constant default", "with a default that is computed once changes the catalogue only")
    yield rule("volatile default", "with a volatile default rewrites the table", rewrites=YES, scans=YES)
    yield rule(
        "default of unknown volatility",
        "whose default calls a function rewrites the table if that function is volatile",
        rewrites=MAYBE,
        scans=MAYBE,
    )
    yield rule("serial", "of a serial type rewrites the table", rewrites=YES, scans=YES)
    yield rule("identity", "that is an identity rewrites the table", rewrites=YES, scans=YES)
    yield rule("stored", "that is generated and stored rewrites the table", rewrites=YES, scans=YES)
    yield rule("virtual", "that is generated and virtual changes the catalogue only", since=18)
    yield rule("constrained domain", "of a domain that has constraints rewrites the table", rewrites=YES, scans=YES)
    yield rule(
        "unknown type",
        "of a type of one's own rewrites the table if that is a domain that has constraints",
        rewrites=MAYBE,
        scans=MAYBE,
    )
    yield rule("NOT NULL", "that is NOT NULL without a default reads the table (and fails if it has rows)", scans=YES)
    yield rule("virtual NOT NULL", "that is virtual and NOT NULL reads the table to check it", scans=YES, since=18)
    yield rule("CHECK", "with a CHECK reads the table to check it", scans=YES)
    yield rule("UNIQUE", "that is UNIQUE or the PRIMARY KEY builds an index under the lock", scans=YES)
    yield rule("REFERENCES", "with a foreign key and no default needs no check of the rows")
    yield rule("REFERENCES with a default", "with a foreign key and a default checks every row", scans=YES)
    yield _row(
        "AT_AddColumn",
        "the referenced table",
        SHARE_ROW_EXCLUSIVE,
        "a new foreign key puts triggers on the table that it references",
        _CONSTRAINT,
        scans=MAYBE,
    )


def _columns() -> Iterator[Rule]:
    yield _exclusive(
        "AT_DropColumn",
        "",
        "dropping a column changes the catalogue only; code that names it fails (a foreign key locks its other table)",
        alter_table("Description, DROP COLUMN; Notes"),
    )
    yield _exclusive(
        "AT_AlterColumnType",
        "",
        "a new type rewrites the table and its indexes, unless it takes the old values as they are (varchar to text); "
        "a foreign key's other table is locked as much",
        alter_table("Description, SET DATA TYPE; Notes"),
        rewrites=MAYBE,
        scans=MAYBE,
    )
    yield _exclusive(
        "AT_ColumnDefault",
        "",
        "a default changes the catalogue only; rows there are stay as they are",
        alter_table("Description, SET/DROP DEFAULT"),
    )
    yield _exclusive(
        "AT_SetNotNull",
        "",
        "SET NOT NULL reads the whole table, unless a valid CHECK (column IS NOT NULL) proves it",
        alter_table("Description, SET/DROP NOT NULL"),
        scans=MAYBE,
    )
    yield _exclusive(
        "AT_DropNotNull",
        "",
        "DROP NOT NULL changes the catalogue only",
        alter_table("Description, SET/DROP NOT NULL"),
    )
    yield _exclusive(
        "AT_SetExpression",
        "",
        "a new expression of a stored generated column rewrites the table; that of a virtual one doesn't",
        alter_table("Description, SET EXPRESSION AS"),
        rewrites=MAYBE,
        scans=MAYBE,
        since=17,
    )
    yield _exclusive(
        "AT_DropExpression",
        "",
        "a stored generated column becomes a plain one; its values stay",
        alter_table("Description, DROP EXPRESSION"),
    )
    identity = alter_table("Description, ADD GENERATED ... AS IDENTITY")
    yield _exclusive("AT_AddIdentity", "", "making a column an identity changes the catalogue only", identity)
    yield _exclusive("AT_SetIdentity", "", "altering an identity changes the catalogue and its sequence", identity)
    yield _exclusive("AT_DropIdentity", "", "dropping an identity changes the catalogue only", identity)
    yield _row(
        "AT_SetStatistics",
        "",
        SHARE_UPDATE_EXCLUSIVE,
        "a statistics target is used by the next ANALYZE",
        alter_table("Description, SET STATISTICS"),
    )
    for command in ("AT_SetOptions", "AT_ResetOptions"):
        yield _row(
            command,
            "",
            SHARE_UPDATE_EXCLUSIVE,
            "a column's options are used by the next ANALYZE",
            alter_table("Description, SET ( attribute_option )"),
        )
    yield _exclusive(
        "AT_SetStorage",
        "",
        "a column's storage counts for new values; nothing is rewritten",
        alter_table("Description, SET STORAGE"),
    )
    yield _exclusive(
        "AT_SetCompression",
        "",
        "a column's compression counts for new values; nothing is rewritten",
        alter_table("Description, SET COMPRESSION"),
    )


def _add_constraint() -> Iterator[Rule]:
    def rule(when: str, why: str, **facts: Answer | int) -> Rule:
        return _exclusive("AT_AddConstraint", when, why, _CONSTRAINT, **facts)

    yield rule("CHECK", "a new CHECK reads the whole table under the lock; NOT VALID doesn't", scans=YES)
    yield rule("CHECK NOT VALID", "a CHECK that is NOT VALID reads no rows")
    yield rule("CHECK NOT ENFORCED", "a CHECK that is NOT ENFORCED reads no rows", since=18)
    yield rule("NOT NULL", "a new NOT NULL reads the whole table under the lock", scans=MAYBE, since=18)
    yield rule("NOT NULL NOT VALID", "a NOT NULL that is NOT VALID reads no rows", since=18)
    yield rule("UNIQUE", "a UNIQUE constraint builds its index under the lock; USING INDEX doesn't", scans=YES)
    yield rule("PRIMARY KEY", "a PRIMARY KEY builds its index under the lock; USING INDEX doesn't", scans=YES)
    using = alter_table("Description, ADD table_constraint_using_index")
    yield _exclusive("AT_AddConstraint", "UNIQUE USING INDEX", "the index is there already: no rows are read", using)
    yield _exclusive(
        "AT_AddConstraint",
        "PRIMARY KEY USING INDEX",
        "the index is there already; rows are read only if a column isn't NOT NULL yet",
        using,
        scans=MAYBE,
    )
    yield rule("EXCLUDE", "an EXCLUDE constraint builds its index under the lock", scans=YES)
    yield from _foreign_keys()


def _foreign_keys() -> Iterator[Rule]:
    def rule(when: str, why: str, **facts: Answer | int) -> Rule:
        return _row("AT_AddConstraint", when, SHARE_ROW_EXCLUSIVE, why, _CONSTRAINT, **facts)

    yield rule("FOREIGN KEY", "a new foreign key checks every row under the lock; NOT VALID doesn't", scans=YES)
    yield rule("FOREIGN KEY NOT VALID", "a foreign key that is NOT VALID reads no rows")
    yield rule("FOREIGN KEY NOT ENFORCED", "a foreign key that is NOT ENFORCED reads no rows", since=18)
    yield rule(
        "FOREIGN KEY: the referenced table",
        "a new foreign key puts triggers on the table that it references, and reads it to check the rows",
        scans=MAYBE,
    )
    yield rule(
        "FOREIGN KEY NOT VALID: the referenced table",
        "a new foreign key puts triggers on the table that it references",
    )
    yield rule(
        "FOREIGN KEY NOT ENFORCED: the referenced table",
        "a new foreign key locks the table that it references",
        since=18,
    )


def _constraints() -> Iterator[Rule]:
    yield _row(
        "AT_ValidateConstraint",
        "",
        SHARE_UPDATE_EXCLUSIVE,
        "validating reads the whole table while reads and writes go on (a foreign key's other table: ROW SHARE)",
        alter_table("Description, VALIDATE CONSTRAINT"),
        scans=YES,
    )
    yield _exclusive(
        "AT_DropConstraint",
        "",
        "dropping a constraint changes the catalogue only (a foreign key's other table is locked as much)",
        alter_table("Description, DROP CONSTRAINT"),
    )
    yield _exclusive(
        "AT_DropConstraint",
        REPLACED,
        "a foreign key is replaced by one of the same name: dropping it locks the table that it references",
        silent("altertable", "Description, DROP CONSTRAINT"),
    )
    yield _exclusive(
        "AT_AlterConstraint",
        "",
        "altering a constraint changes the catalogue (a foreign key's other table may be locked too)",
        alter_table("Description, ALTER CONSTRAINT"),
    )


def _storage() -> Iterator[Rule]:
    yield _exclusive(
        "AT_SetTableSpace",
        "",
        "another tablespace copies the table's files under the lock",
        alter_table("Description, SET TABLESPACE"),
        rewrites=YES,
        scans=YES,
    )
    for command in ("AT_SetLogged", "AT_SetUnLogged"):
        yield _exclusive(
            command,
            "",
            "LOGGED and UNLOGGED rewrite the table and its indexes",
            alter_table("Description, SET { LOGGED | UNLOGGED }"),
            rewrites=YES,
            scans=YES,
        )
    yield _exclusive(
        "AT_DropOids",
        "",
        "no table has had OIDs since PostgreSQL 12: it locks the table and does nothing",
        alter_table("Description, SET WITHOUT OIDS"),
    )
    yield _exclusive(
        "AT_SetAccessMethod",
        "",
        "another access method rewrites the table; the one it has already doesn't",
        alter_table("Description, SET ACCESS METHOD"),
        rewrites=MAYBE,
        scans=MAYBE,
    )
    parameters = alter_table("Description, SET ( storage_parameter )")
    for command in ("AT_SetRelOptions", "AT_ResetRelOptions"):
        yield _row(
            command,
            "",
            SHARE_UPDATE_EXCLUSIVE,
            "storage parameters count from now on; nothing is rewritten",
            parameters,
        )
        yield _exclusive(command, "a strong one", "this parameter isn't among those with a weaker lock", parameters)
    cluster = alter_table("Description, CLUSTER ON, SET WITHOUT CLUSTER")
    for command in ("AT_ClusterOn", "AT_DropCluster"):
        yield _row(command, "", SHARE_UPDATE_EXCLUSIVE, "says what the next CLUSTER goes by; moves no row", cluster)


def _behaviour() -> Iterator[Rule]:
    triggers = alter_table("Description, DISABLE/ENABLE [ REPLICA | ALWAYS ] TRIGGER")
    for suffix in ("EnableTrig", "EnableAlwaysTrig", "EnableReplicaTrig", "DisableTrig", "EnableTrigAll"):
        yield _row(f"AT_{suffix}", "", SHARE_ROW_EXCLUSIVE, "enabling or disabling a trigger stops writers", triggers)
    for suffix in ("DisableTrigAll", "EnableTrigUser", "DisableTrigUser"):
        yield _row(f"AT_{suffix}", "", SHARE_ROW_EXCLUSIVE, "enabling or disabling triggers stops writers", triggers)
    rules = alter_table("Description, DISABLE/ENABLE [ REPLICA | ALWAYS ] RULE")
    for suffix in ("EnableRule", "EnableAlwaysRule", "EnableReplicaRule", "DisableRule"):
        yield _exclusive(f"AT_{suffix}", "", "enabling or disabling a rule changes the catalogue only", rules)
    security = alter_table("Description, ROW LEVEL SECURITY")
    for suffix in ("EnableRowSecurity", "DisableRowSecurity", "ForceRowSecurity", "NoForceRowSecurity"):
        yield _exclusive(f"AT_{suffix}", "", "row level security changes the catalogue only", security)
    yield _exclusive(
        "AT_ReplicaIdentity",
        "",
        "the replica identity changes the catalogue only",
        alter_table("Description, REPLICA IDENTITY"),
    )
    yield _exclusive(
        "AT_ChangeOwner", "", "another owner changes the catalogue only", alter_table("Description, OWNER TO")
    )


def _foreign_tables() -> Iterator[Rule]:
    options = silent("alterforeigntable", "Description, OPTIONS")
    for command in ("AT_GenericOptions", "AT_AlterColumnGenericOptions"):
        yield _exclusive(command, "", "a foreign table's options count from now on", options)


def _inheritance() -> Iterator[Rule]:
    attach = alter_table("Description, ATTACH PARTITION")
    yield _row(
        "AT_AttachPartition",
        "",
        SHARE_UPDATE_EXCLUSIVE,
        "attaching a partition lets the table live on (a default partition is locked and read)",
        attach,
    )
    yield _exclusive(
        "AT_AttachPartition",
        "the partition",
        "the new partition is read in full, unless a valid CHECK proves that its rows fit",
        attach,
        scans=MAYBE,
    )
    detach = alter_table("Description, DETACH PARTITION")
    yield _exclusive(
        "AT_DetachPartition",
        "",
        "detaching a partition changes the catalogue only (a default partition is locked as much)",
        detach,
    )
    yield _exclusive("AT_DetachPartition", "the partition", "detaching a partition changes the catalogue only", detach)
    yield _row(
        "AT_DetachPartition",
        "CONCURRENTLY",
        SHARE_UPDATE_EXCLUSIVE,
        "detaching concurrently waits for everyone who uses the table, and stops nobody",
        detach,
    )
    yield _exclusive(
        "AT_DetachPartition",
        "CONCURRENTLY: the partition",
        "at the end the partition itself is locked for a moment",
        detach,
    )
    yield _row("AT_DetachPartitionFinalize", "", SHARE_UPDATE_EXCLUSIVE, "ends a detaching that was broken off", detach)
    yield _exclusive("AT_DetachPartitionFinalize", "the partition", "ends a detaching that was broken off", detach)
    inherit = silent("altertable", "Description, INHERIT, NO INHERIT")
    yield _exclusive("AT_AddInherit", "", "a new parent changes the catalogue only", inherit)
    yield _row("AT_AddInherit", "the parent", SHARE_UPDATE_EXCLUSIVE, "the parent gets a child", inherit)
    yield _exclusive("AT_DropInherit", "", "leaving a parent changes the catalogue only", inherit)
    yield _row("AT_DropInherit", "the parent", ACCESS_SHARE, "the parent loses a child", inherit)
    typed = alter_table("Description, OF, NOT OF")
    yield _exclusive("AT_AddOf", "", "binding a table to a type changes the catalogue only", typed)
    yield _exclusive("AT_DropOf", "", "freeing a table from its type changes the catalogue only", typed)


def _indexes_and_views() -> Iterator[Rule]:
    index = page("alterindex", "Description")
    yield _row(
        "AT_SetRelOptions", "an index", SHARE_UPDATE_EXCLUSIVE, "an index's fill factor counts from now on", index
    )
    yield _exclusive(
        "AT_SetRelOptions",
        "an index, a strong one",
        "this parameter locks the index, so readers of its table wait",
        index,
    )
    yield _row(
        "AT_SetStatistics",
        "an index",
        SHARE_UPDATE_EXCLUSIVE,
        "a statistics target is used by the next ANALYZE",
        index,
    )
    yield _exclusive(
        "AT_SetTableSpace",
        "an index",
        "another tablespace copies the index under the lock, so readers of its table wait",
        index,
        rewrites=YES,
        scans=YES,
    )
    yield _row(
        "AT_AttachPartition",
        "an index",
        SHARE_UPDATE_EXCLUSIVE,
        "the partitioned index gets a part",
        silent("alterindex", "Description, ATTACH PARTITION"),
    )
    yield _exclusive(
        "AT_AttachPartition",
        "an index: the part",
        "the index that is attached is locked, so readers of its table wait",
        silent("alterindex", "Description, ATTACH PARTITION"),
    )
    yield _exclusive(
        "", "a view", "altering a view stops its readers; its tables go on", silent("alterview", "Description")
    )


RULES = tuple(_rows())
