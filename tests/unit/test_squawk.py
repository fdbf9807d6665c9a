"""squawk as we run it: the real program, what it is told, and what becomes of its answers."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurora_migrations.compiler import squawk
from aurora_migrations.engine.errors import InvalidInput

INDEX = b"CREATE INDEX i ON users (id);\n"


def rules(text, in_transaction=True):
    return [finding.rule for finding in squawk.lint([(text, in_transaction)])[0]]


def words(listing, first):
    """The run of names that begins with `first` in the program: squawk has no command that lists its rules."""
    program = Path(squawk.find_program()).read_bytes()
    return re.search(re.escape(first.encode()) + listing, program)[0].decode()


def camel(rule):
    return "".join(word.capitalize() for word in rule.split("-"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names out of the program, as Linux's linker laid them")
def test_the_table_holds_every_rule_that_squawk_knows():
    # Names of exactly 16 or 32 letters are stored elsewhere. No name has such a length in both spellings.
    dashed = words(rb"[a-z-]+", "require-concurrent-index-creation")
    humped = words(rb"[A-Za-z]+", "RequireConcurrentIndexCreation")
    longest_first = sorted(squawk.RULES, key=len, reverse=True)
    assert re.fullmatch("|".join(longest_first).join(("(?:", ")+")), dashed), "a rule that the table doesn't list"
    known = re.match("|".join(map(camel, longest_first)).join(("(?:", ")+")), humped)[0]
    after = humped[len(known) :]
    assert not re.match("Ban|Require|Prefer|Adding|Renaming|Changing|Disallow|Constraint|Unused|Identifier", after), (
        after
    )
    for rule in squawk.RULES:
        assert rule in dashed or camel(rule) in humped, f"{rule} is none of squawk's"


def test_squawk_takes_every_name_of_the_table():
    names = squawk.RULES.keys() - {"unused-ignore"}
    assert names
    for rule in names:
        command = [squawk.find_program(), "--exclude", rule, "--no-error-on-unmatched-pattern", "none/*.sql"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
        assert b"invalid rule name" not in done.stderr, rule


def test_it_is_the_version_whose_rules_the_table_lists():
    done = subprocess.run([squawk.find_program(), "--version"], capture_output=True, timeout=20, text=True)
    assert done.stdout.split() == ["squawk", squawk.VERSION]


def test_each_rule_says_why_it_is_kept_or_left_out():
    assert squawk.RULES
    assert [name for name, rule in squawk.RULES.items() if not rule.reason] == []


KEPT = {
    "require-concurrent-index-creation": "CREATE INDEX i ON t (a);",
    "require-concurrent-index-deletion": "DROP INDEX i;",
    "require-concurrent-reindex": "REINDEX TABLE t;",
    "require-concurrent-partition-detach": "ALTER TABLE t DETACH PARTITION p;",
    "constraint-missing-not-valid": "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0);",
    "adding-foreign-key-constraint": "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u (id);",
    "adding-not-nullable-field": "ALTER TABLE t ALTER COLUMN a SET NOT NULL;",
    "adding-serial-primary-key-field": "ALTER TABLE t ADD PRIMARY KEY (a);",
    "disallowed-unique-constraint": "ALTER TABLE t ADD CONSTRAINT c UNIQUE (a);",
    "adding-field-with-default": "ALTER TABLE t ADD COLUMN a uuid DEFAULT gen_random_uuid();",
    "changing-column-type": "ALTER TABLE t ALTER COLUMN a TYPE bigint;",
    "ban-alter-domain-with-add-constraint": "ALTER DOMAIN d ADD CONSTRAINT c CHECK (value > 0);",
    "adding-required-field": "ALTER TABLE t ADD COLUMN a int NOT NULL;",
    "renaming-column": "ALTER TABLE t RENAME COLUMN a TO b;",
    "renaming-table": "ALTER TABLE t RENAME TO u;",
    "renaming-object": "ALTER VIEW v RENAME TO w;",
    "ban-set-schema": "ALTER TABLE t SET SCHEMA s;",
    "ban-drop-default": "ALTER TABLE t ALTER COLUMN a DROP DEFAULT;",
    "ban-drop-not-null": "ALTER TABLE t ALTER COLUMN a DROP NOT NULL;",
    "ban-drop-constraint": "ALTER TABLE t DROP CONSTRAINT c;",
    "ban-alter-identity": "ALTER TABLE t ALTER COLUMN a DROP IDENTITY;",
    "ban-drop-generated-expression": "ALTER TABLE t ALTER COLUMN a DROP EXPRESSION;",
    "ban-drop-column": "ALTER TABLE t DROP COLUMN a;",
    "ban-drop-table": "DROP TABLE t;",
    "ban-drop-view": "DROP VIEW v;",
    "ban-drop-function": "DROP FUNCTION f();",
    "ban-drop-type": "DROP TYPE t;",
    "ban-drop-domain": "DROP DOMAIN d;",
    "ban-drop-sequence": "DROP SEQUENCE s;",
    "ban-drop-schema": "DROP SCHEMA s;",
    "ban-drop-extension": "DROP EXTENSION e;",
    "ban-drop-database": "DROP DATABASE d;",
    "ban-truncate-cascade": "TRUNCATE t CASCADE;",
    "ban-duplicate-column-assignments": "UPDATE t SET a = 1, a = 2;",
}


def test_there_is_an_example_of_every_rule_kept():
    assert KEPT.keys() == squawk.KEPT


@pytest.mark.parametrize("in_transaction", [True, False])
def test_each_rule_kept_finds_its_example_and_has_help(in_transaction):
    found = squawk.lint([(text.encode(), in_transaction) for text in KEPT.values()])
    for rule, findings in zip(KEPT, found, strict=True):
        assert rule in {finding.rule for finding in findings}
        assert squawk.RULES[rule].help, rule


@pytest.mark.parametrize("in_transaction", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        b"ALTER TABLE t ADD COLUMN a int;",  # no timeouts, no IF NOT EXISTS
        b"CREATE TABLE t (id int, name varchar(10), code char(3), n serial, at timestamp, s smallint);",
        b"CREATE TABLE " + b"a" * 70 + b" (id bigint);",
        b"ALTER TYPE e ADD VALUE 'x';",
        b"CREATE DOMAIN d AS int CHECK (value > 0);",
        b"CREATE OR REPLACE VIEW v AS SELECT 1;",
        b"ALTER ROLE r NOLOGIN;",
        b"REVOKE ALL ON t FROM r;",
        b"VACUUM FULL t;",
        b"CREATE INDEX CONCURRENTLY i ON t (a);",
        b"BEGIN; SELECT 1; COMMIT;",
    ],
)
def test_rules_that_do_not_apply_stay_silent(text, in_transaction):
    assert rules(text, in_transaction) == []


def test_a_table_made_in_the_same_transaction_is_known_only_where_there_is_one():
    text = b"CREATE TABLE t (a int);\nCREATE INDEX i ON t (a);"
    assert rules(text, in_transaction=True) == []
    assert rules(text, in_transaction=False) == ["require-concurrent-index-creation"]


def test_validating_in_the_same_transaction_is_told_only_where_there_is_one():
    text = b"ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) NOT VALID;\nALTER TABLE t VALIDATE CONSTRAINT c;"
    assert rules(text, in_transaction=True) == ["constraint-missing-not-valid"]
    assert rules(text, in_transaction=False) == []


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"-- one line\n\n",
        b"/* caf\xc3\xa9 \xf0\x9f\x98\x80 */\t",
        b"SELECT 'na\xc3\xafve';\n\t \t",
        b"SELECT 1;\r\n  ",
        b"SELECT '\xe2\x80\xa8 line separator \x0b \x0c \xc2\x85';\n/* \xe2\x80\xa9 */ ",
    ],
)
def test_offsets_are_bytes_after_any_characters(before):
    (finding,) = squawk.lint([(before + INDEX, True)])[0]
    assert finding.start == len(before)
    assert (before + INDEX)[finding.start : finding.end].strip() == INDEX.strip()


@pytest.mark.parametrize(
    "comment", [b"-- squawk-ignore-file\n", b"-- squawk-ignore require-concurrent-index-creation\n"]
)
def test_comments_that_silence_squawk_without_a_reason_have_no_effect(comment):
    assert rules(comment + INDEX) == ["require-concurrent-index-creation"]


def test_a_comment_does_not_change_how_the_file_is_run():
    text = b"-- squawk-disable-assume-in-transaction\nCREATE TABLE t (a int); CREATE INDEX i ON t (a);"
    assert rules(text) == []


def test_a_configuration_on_the_way_up_has_no_effect(tmp_path, monkeypatch):
    (tmp_path / ".squawk.toml").write_text('excluded_rules = ["require-concurrent-index-creation"]\n')
    monkeypatch.chdir(tmp_path)
    assert rules(INDEX) == ["require-concurrent-index-creation"]


def test_annotations_of_its_own_do_not_get_in_the_way(monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert rules(INDEX) == ["require-concurrent-index-creation"]


def test_answers_stand_in_the_order_of_the_texts():
    texts = [(b"SELECT 1;" if n % 3 else b"DROP TABLE t;", n % 2 == 0) for n in range(40)]
    found = squawk.lint(texts)
    assert [bool(findings) for findings in found] == [n % 3 == 0 for n in range(40)]


def test_no_texts_need_no_squawk():
    assert squawk.lint([]) == []


def test_what_its_parser_cannot_read_is_told():
    assert rules(b"SELECT 1 FROM;") == [squawk.SYNTAX_ERROR]


def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


# ---- a squawk that is missing or fails ------------------------------------------------------------------------------


def test_a_missing_squawk_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match="not installed") as caught:
        squawk.lint([(INDEX, True)])
    assert f"squawk-cli=={squawk.VERSION}" in caught.value.solution


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand in for programs")
def test_the_one_beside_python_comes_before_the_path(tmp_path, monkeypatch):
    beside = script(tmp_path, "exit 0")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert squawk.find_program() == str(beside)


def script(folder, body):
    path = folder / "squawk"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand in for programs")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo no such option >&2; exit 2", "no such option"),
        ("echo broken >&2; exit 1", "broken"),
        ("exit 0", "another program of that name"),
        ("echo '{}'", "another program of that name"),
        ("echo '[{}]'; exit 1", "another program of that name"),
        ("kill -9 $$", "another program of that name"),
    ],
)
def test_a_failing_squawk_is_an_error_never_a_pass(body, said, tmp_path, monkeypatch):
    script(tmp_path, body)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InvalidInput, match="squawk failed") as caught:
        squawk.lint([(INDEX, True)])
    assert said in caught.value.cause


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand in for programs")
@pytest.mark.parametrize("failure", ["kill -ABRT $$", "exec sleep 60", "exit 101"])
def test_a_text_that_makes_squawk_fail_is_unreadable_and_hides_no_other(failure, tmp_path, monkeypatch):
    real = squawk.find_program()
    script(tmp_path, f'grep -q POISON *.sql && {failure}\nexec {real} "$@"')
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(squawk, "_LIMIT_S", 1.0)
    poisoned = (17, 40)
    texts = [(b"SELECT 'POISON';" if n in poisoned else INDEX, n % 3 == 0) for n in range(50)]
    found = [[finding.rule for finding in findings] for findings in squawk.lint(texts)]
    usual, unread = ["require-concurrent-index-creation"], [squawk.SYNTAX_ERROR]
    assert found == [unread if number in poisoned else usual for number in range(50)]


def test_brackets_that_overflow_a_usual_thread_are_read():
    deep = b"ALTER TABLE t ADD CHECK (" + b"(" * 5_000 + b"true" + b")" * 5_000 + b");"
    assert [len(found) for found in squawk.lint([(deep, True), *[(INDEX, True)] * 4])] == [1, 1, 1, 1, 1]


def test_many_findings_in_one_text_take_no_time_with_the_square_of_their_number():
    text = b"ALTER TABLE t\n  ADD CONSTRAINT c CHECK (a > 0);\n" * 4_000
    assert seconds(lambda: squawk.lint([(text, True)])) < 4


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand in for programs")
def test_a_squawk_that_hangs_is_stopped(tmp_path, monkeypatch):
    script(tmp_path, "exec sleep 60")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(squawk, "_LIMIT_S", 0.2)
    with pytest.raises(InvalidInput, match="still running"):
        squawk.lint([(INDEX, True)])


@pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand in for programs")
def test_a_squawk_that_cannot_be_started_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "squawk").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "squawk").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InvalidInput, match="can't be started"):
        squawk.lint([(INDEX, True)])
