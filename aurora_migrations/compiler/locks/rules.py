"""The lock rules: which lock each kind of statement takes on a table, and whether it rewrites or scans it; and the
functions and types of PostgreSQL's own that they depend on.

The rules are the rows of `rules.tsv`, each with its source in PostgreSQL's documentation, and each is tried on real
servers by `tests/database/test_effects.py`. A rule is about a relation that the statement names. What it can't see,
such as children and partitions, is listed in docs/reference/rules.md.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from aurora_migrations.engine.locks.modes import CONFLICTS, MODES

_DOCUMENTATION = "https://www.postgresql.org/docs/18/"

ACCESS_SHARE, ROW_SHARE, ROW_EXCLUSIVE = MODES[:3]


class Answer(IntEnum):
    """Whether something happens. MAYBE: it depends on what the text doesn't show, such as a column's old type."""

    NO = 0
    MAYBE = 1
    YES = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Rule:
    """What one kind of statement does to one relation that it names: a row of the table."""

    statement: str  # the kind of its tree, such as `AlterTableStmt`
    command: str  # the sub-command or the kind of object, in the tree's words, such as `AT_AddColumn`; or empty
    when: str  # the case, in our words, such as `volatile default` or `the referenced table`; or empty
    lock: str  # the strongest mode it takes on the relation
    why: str  # a sentence for people
    source: str  # the section of PostgreSQL's documentation, or that it is measured because that is silent
    rewrites: Answer  # whether the relation's rows are written again, into another file
    scans: Answer  # whether all rows are read while the lock is held
    index_lock: str  # the mode it takes on the relation's indexes, where that is stronger than `lock`
    since: int  # the first major version of PostgreSQL that has this statement (or lock); 0 for all supported versions

    @property
    def id(self) -> str:
        """Its name, unique in the table."""
        return ": ".join(part for part in (f"{self.statement} {self.command}".strip(), self.when) if part)

    @property
    def blocks_reads(self) -> bool:
        """Whether a SELECT has to wait. The planner locks every index of a table that it reads, so these count too."""
        return bool({self.lock, self.index_lock} & CONFLICTS[ACCESS_SHARE])

    @property
    def blocks_writes(self) -> bool:
        return bool({self.lock, self.index_lock} & CONFLICTS[ROW_EXCLUSIVE])

    @property
    def weight(self) -> tuple[int, Answer, Answer]:
        """The greatest is the rule to report first."""
        return MODES.index(self.lock), self.rewrites, self.scans


_lines = Path(__file__).with_name("rules.tsv").read_text("utf-8").splitlines()
RULES = tuple(
    Rule(
        statement=row["statement"],
        command=row["command"],
        when=row["when"],
        lock=row["lock"],
        why=row["why"],
        source=_DOCUMENTATION + row["source"],
        rewrites=Answer[row["rewrites"].upper()],
        scans=Answer[row["scans"].upper()],
        index_lock=row["index_lock"],
        since=int(row["since"] or 0),
    )
    for row in csv.DictReader(_lines, delimiter="\t", quoting=csv.QUOTE_NONE)
)
_BY_CASE = {(rule.statement, rule.command, rule.when): rule for rule in RULES}


def find_rule(statement: str, command: str = "", when: str = "") -> Rule | None:
    return _BY_CASE.get((statement, command, when))


# ---- PostgreSQL's own functions, by volatility, and types: tests/database/test_effects.py checks them ----------------


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


VOLATILE = _words(
    "clock_timestamp currval gen_random_bytes gen_random_uuid gen_salt lastval nextval random random_normal set_config",
    "setval timeofday uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 uuidv4 uuidv7",
)
"""Functions whose value differs from row to row (provolatile `v`): those that people write into a DEFAULT."""

STEADY = _words(
    "abs age array_append array_cat array_fill array_length array_position array_prepend array_remove array_to_json",
    "array_to_string ascii bit_length btrim cardinality ceil ceiling char_length chr concat concat_ws convert_from",
    "convert_to current_database current_schema current_setting date date_bin date_part date_trunc daterange decode",
    "degrees div encode exp extract float8 floor format host hstore inet_client_addr initcap int4 int4range int8",
    "int8range isfinite json_array_length json_build_array json_build_object json_object jsonb_array_length",
    "jsonb_build_array jsonb_build_object jsonb_object jsonb_set justify_days justify_hours justify_interval",
    "left length like_escape ln localtimestamp log lower lpad ltrim make_date make_interval make_time make_timestamp",
    "make_timestamptz md5 mod network now numeric numrange octet_length overlay pg_backend_pid pg_current_xact_id",
    "pi point polygon position power quote_ident quote_literal radians regexp_replace repeat replace reverse right",
    "round row_to_json rpad rtrim session_user sha256 sha512 sign split_part sqrt statement_timestamp string_to_array",
    "strpos substr substring text timestamp timestamptz timezone to_char to_date to_hex to_json to_jsonb to_number",
    "to_timestamp to_tsquery to_tsvector transaction_timestamp translate trim_array trunc tsrange tstzrange upper",
    "version",
)
"""Functions whose value holds for a whole statement (immutable or stable)."""


SERIAL = _words("bigserial serial serial2 serial4 serial8 smallserial")
"""Not types: an integer, a sequence and a default of nextval()."""

EXTENSION_TYPES = _words("box2d box3d citext cube geography geometry halfvec hstore lquery ltree ltxtquery vector")
"""Base types of extensions that are in wide use."""

TYPES = EXTENSION_TYPES | _words(
    "bit bool box bpchar bytea char cidr circle date datemultirange daterange float4 float8 inet int2 int2vector int4",
    "int4multirange int4range int8 int8multirange int8range interval json jsonb jsonpath line lseg macaddr macaddr8",
    "money name nummultirange numeric numrange oid path pg_lsn pg_snapshot point polygon regclass regproc regtype",
    "text time timestamp timestamptz timetz tsmultirange tsquery tsrange tstzmultirange tstzrange tsvector",
    "txid_snapshot uuid varbit varchar xid xid8 xml",
)
"""Types of PostgreSQL and of those extensions: none is a domain."""
