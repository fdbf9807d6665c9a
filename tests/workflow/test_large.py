"""Many migrations: over several calls of Apply, and with a state that stays small whatever their number."""

from __future__ import annotations

import psycopg

from aurora_migrations.engine.catalog.pages import read_page
from tests.workflow.helpers import DATABASE, Ended, Workflow

LARGEST_STATE = 32 * 1024  # bytes
PENDING = 10  # of those below
# What the engine writes of a file, for files that are alike but for their number.
_ATTEMPTS = """
    INSERT INTO aurora_migrations.attempts (action, version, name, sha256, package, execution, requested_by,
                                            lock_holder, finished_at, result)
    SELECT action, n, lpad(n::text, 5, '0') || '_n', sha256, package, 'earlier', requested_by, lock_holder,
           clock_timestamp(), result
      FROM aurora_migrations.attempts, generate_series({}, {}) n WHERE version = 1 RETURNING 1
"""
_APPLIED = """
    INSERT INTO aurora_migrations.applied (version, name, sha256, sql, attempt, execution, requested_by, tokens)
    SELECT t.version, t.name, a.sha256, a.sql, t.id, t.execution, t.requested_by, a.tokens
      FROM aurora_migrations.attempts t, aurora_migrations.applied a
     WHERE a.version = 1 AND t.execution = 'earlier'
       AND t.version NOT IN (SELECT version FROM aurora_migrations.applied) RETURNING 1
"""


def test_300_files_are_applied_over_several_calls(workflow: Workflow) -> None:
    work = "CREATE TABLE t{} (id int PRIMARY KEY); SELECT pg_sleep(0.01);"  # 3 s in all, where a call has 2
    workflow.deploy(**{f"_{n:03}_table_number_{n}": work.format(n) for n in range(1, 301)})
    with workflow.configured("apply", timeout=12):
        ended = workflow.run()
    assert (ended.status, ended.output["applied_count"]) == ("SUCCEEDED", 300)
    assert ended.entered.count("Apply") > 1
    assert workflow.query("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(300,)]
    assert workflow.query("SELECT count(DISTINCT version), count(*) FROM aurora_migrations.attempts") == [(300, 300)]
    assert ended.largest_state < LARGEST_STATE
    assert ended.output["verified"]["tables_count"] == 300


def test_state_grows_with_no_migration_that_is_known_or_applied(workflow: Workflow) -> None:
    """At 2,000 it is what it is at 200, but for longer numbers: so it stays small at any number."""
    few, many = (states_at(workflow, number) for number in (200, 2_000))
    for one, other in zip(few, many, strict=True):
        assert other.largest_state - one.largest_state < 100
        assert other.largest_state < LARGEST_STATE


def test_facts_of_1_000_tables_fit_into_the_states_of_a_few_executions(workflow: Workflow) -> None:
    columns = ", ".join(f"c{n} text DEFAULT 'x{{0}}' CHECK (c{n} <> '{{0}}')" for n in range(6))
    workflow.deploy(_001_first="SELECT 1;")
    tables = [f"CREATE TABLE t{n} (id int PRIMARY KEY, {columns.format(n * 7919)})" for n in range(1_000)]
    with psycopg.connect(workflow.server.url(DATABASE), autocommit=True) as connection:
        connection.execute("; ".join(tables).encode())
    ended = [workflow.run({"action": "facts"})]
    ended += [workflow.run({"action": "facts", "page": page}) for page in range(2, ended[0].output["pages"] + 1)]
    assert max(each.largest_state for each in ended) < 256 * 1024
    facts = {key for each in ended for key in read_page(each.output["facts"])}
    assert len(facts) == ended[0].output["count"] > 14_000
    assert ended[0].mails == []


def states_at(workflow: Workflow, number: int) -> list[Ended]:
    """A plan, a run and a verification where there are so many migrations, of which the last few are pending."""
    workflow.deploy(**{f"_{n:05}_n": "SELECT 1;" for n in range(1, number + 1)})
    workflow.run({"target": "1"})
    known = len(workflow.applied)
    made = workflow.query(_ATTEMPTS.format(known + 1, number - PENDING))
    assert len(made) == len(workflow.query(_APPLIED)) == number - PENDING - known
    planned = workflow.run({"action": "plan"})
    assert planned.output["message"].startswith(f"{PENDING} migrations to run")
    ended = workflow.run()
    assert (ended.status, ended.output["applied_count"]) == ("SUCCEEDED", PENDING)
    return [planned, ended, workflow.run({"action": "verify"})]
