"""Migration 017 does what the micro-agent needs, on a real server, by the text of its files alone."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

MIGRATIONS = Path(__file__).parents[2] / "migrations"
NAME = "017_create_dry_run_log_micro_agente"
UP = (MIGRATIONS / f"{NAME}.sql").read_text(encoding="utf-8")
DOWN = (MIGRATIONS / f"{NAME}.down.sql").read_text(encoding="utf-8")
VERIFY = (MIGRATIONS / f"{NAME}.verify.sql").read_text(encoding="utf-8")

# Word for word what the runbook tells the micro-agent to send.
RUNBOOK_INSERT = """
  INSERT INTO dry_run_log (
    tenant_id, lead_id, lead_nome, lead_telefone, lead_email,
    canal_decidido, motivo_decisao, template_selecionado,
    disparo_seria_executado, razao_bloqueio,
    ambiente, feature_flag_enabled
  ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""

# node-postgres sends every value as text without a type, booleans as 'true' and 'false', and undefined as
# NULL. psycopg sends a str in the same way, so strings here are what reaches the server from the agent.
DECISION = {
    "tenant_id": "test-001",
    "lead_id": "lead-42",
    "lead_nome": "Conceição D'Ávila",
    "lead_telefone": "+55 11 98765-4321",
    "lead_email": "conceicao@example.com",
    "canal_decidido": "whatsapp",
    "motivo_decisao": "Lead possui telefone válido",
    "template_selecionado": "boas_vindas",
    "disparo_seria_executado": "true",
    "razao_bloqueio": None,
    "ambiente": "dev",
    "feature_flag_enabled": "false",
}
UNKNOWN_TO_THE_AGENT = (
    "lead_id",
    "lead_nome",
    "lead_telefone",
    "lead_email",
    "template_selecionado",
    "razao_bloqueio",
    "ambiente",
)
ALWAYS_KNOWN = tuple(column for column in DECISION if column not in UNKNOWN_TO_THE_AGENT)

# A table that some earlier runner made: other types, other key, a column more, no time zone.
OLDER_TABLE = """
CREATE TABLE dry_run_log (
    log_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL,
    lead_id uuid,
    lead_nome varchar(500),
    lead_telefone varchar(50),
    lead_email varchar(255),
    lead_documento varchar(20),
    canal_decidido varchar(20) NOT NULL,
    motivo_decisao text NOT NULL,
    template_selecionado varchar(100),
    disparo_seria_executado boolean DEFAULT true,
    razao_bloqueio text,
    ambiente varchar(10) DEFAULT 'dev',
    feature_flag_enabled boolean DEFAULT false,
    created_at timestamp DEFAULT now()
)
"""


def insert(database, **changes: str | None) -> None:
    with database.connect() as connection, psycopg.RawCursor(connection) as cursor:
        cursor.execute(RUNBOOK_INSERT, list((DECISION | changes).values()))


def verdicts(database) -> list[object]:
    """What each verify statement says, asked as the verify step asks: read-only, one boolean a statement."""
    answers = []
    with database.connect() as connection, connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY")
        cursor = connection.execute(VERIFY)
        while True:
            [(answer,)] = cursor.fetchall()
            answers.append(answer)
            if not cursor.nextset():
                return answers


@pytest.fixture
def migrated(database):
    database.execute(UP)
    return database


@pytest.fixture
def busy_log(migrated):
    """Enough rows that the planner has a reason to prefer one index to another."""
    migrated.execute(
        """
        INSERT INTO dry_run_log (
            tenant_id, lead_id, canal_decidido, motivo_decisao,
            disparo_seria_executado, razao_bloqueio, feature_flag_enabled, created_at
        )
        SELECT
            'tenant-' || n % 50, 'lead-' || n % 1000, 'email', 'because',
            n % 20 <> 0, CASE WHEN n % 20 = 0 THEN 'rate limit' END, false, now() - n * interval '1 minute'
        FROM generate_series(1, 20000) AS n;
        """
    )
    migrated.execute("ANALYZE dry_run_log")
    return migrated


def test_the_runbook_insert_works(migrated) -> None:
    insert(migrated)
    assert migrated.query(f"SELECT {', '.join(DECISION)} FROM dry_run_log") == [
        tuple({"true": True, "false": False}.get(value, value) for value in DECISION.values())
    ]


def test_a_new_log_is_empty(migrated) -> None:
    assert migrated.query("SELECT count(*) FROM dry_run_log") == [(0,)]


def test_key_and_time_fill_themselves(migrated) -> None:
    insert(migrated)
    insert(migrated)
    assert migrated.query("SELECT array_agg(log_id ORDER BY log_id) FROM dry_run_log") == [([1, 2],)]
    assert migrated.query(
        "SELECT bool_and(created_at BETWEEN now() - interval '5 minutes' AND now()),"
        " min(pg_typeof(created_at)::text) FROM dry_run_log"
    ) == [(True, "timestamp with time zone")]


def test_whoever_may_insert_needs_no_other_right(migrated, roles) -> None:
    agent = roles.create()
    migrated.execute(f"GRANT INSERT ON dry_run_log TO {agent.name}")
    with migrated.connect(agent) as connection, psycopg.RawCursor(connection) as cursor:
        cursor.execute(RUNBOOK_INSERT, list(DECISION.values()))
    assert migrated.query("SELECT count(*) FROM dry_run_log") == [(1,)]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"tenant_id": "0b5fb3a8-6f4e-4a52-9f0e-3c6f1f0f7b11"}, id="tenant is a uuid"),
        pytest.param({"lead_id": "0b5fb3a8-6f4e-4a52-9f0e-3c6f1f0f7b11"}, id="lead is a uuid"),
        pytest.param({"lead_id": "42"}, id="lead is a number"),
        pytest.param({"canal_decidido": "carrier-pigeon"}, id="channel nobody has heard of"),
        pytest.param({"canal_decidido": "none", "disparo_seria_executado": "false"}, id="no channel"),
        pytest.param(dict.fromkeys(UNKNOWN_TO_THE_AGENT), id="nothing known of the lead, ENV not set"),
    ],
)
def test_what_the_agent_may_send_is_accepted(migrated, changes: dict[str, str | None]) -> None:
    insert(migrated, **changes)
    assert migrated.query("SELECT count(*) FROM dry_run_log") == [(1,)]


def test_a_very_long_reason_is_accepted(migrated) -> None:
    # Digests don't compress, so an index over this text could not hold it.
    migrated.execute(
        """
        INSERT INTO dry_run_log (
            tenant_id, canal_decidido, motivo_decisao,
            disparo_seria_executado, razao_bloqueio, feature_flag_enabled
        )
        SELECT 'test-001', 'none', reason, false, reason, false
        FROM (SELECT string_agg(md5(n::text), '') AS reason FROM generate_series(1, 1000) AS n) AS long_text
        """
    )
    assert migrated.query("SELECT length(razao_bloqueio) FROM dry_run_log") == [(32000,)]


@pytest.mark.parametrize("column", ALWAYS_KNOWN)
def test_what_the_agent_always_knows_is_required(migrated, column: str) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation):
        insert(migrated, **{column: None})


def test_applying_twice_keeps_the_rows(migrated) -> None:
    insert(migrated)
    migrated.execute(UP)
    assert migrated.query("SELECT tenant_id FROM dry_run_log") == [("test-001",)]
    assert verdicts(migrated) == [True] * 7


def test_an_older_table_with_rows_is_accepted_as_it_is(database) -> None:
    database.execute(OLDER_TABLE)
    uuids = dict.fromkeys(("tenant_id", "lead_id"), "0b5fb3a8-6f4e-4a52-9f0e-3c6f1f0f7b11")
    insert(database, **uuids)
    columns = """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull
        FROM pg_attribute WHERE attrelid = 'dry_run_log'::regclass AND attnum > 0
    """
    before = database.query(columns)

    database.execute(UP)

    assert database.query("SELECT count(*) FROM dry_run_log") == [(1,)]
    assert database.query(columns) == before
    assert verdicts(database) == [True] * 7
    insert(database, **uuids)


def test_table_and_every_column_have_a_comment(migrated) -> None:
    uncommented = migrated.query(
        """
        SELECT attname FROM pg_attribute
        WHERE attrelid = 'dry_run_log'::regclass AND attnum > 0 AND col_description(attrelid, attnum) IS NULL
        """
    )
    assert uncommented == []
    [(comment,)] = migrated.query("SELECT obj_description('dry_run_log'::regclass, 'pg_class')")
    assert "personal data" in comment


@pytest.mark.parametrize("column", ["lead_nome", "lead_telefone", "lead_email"])
def test_personal_data_is_marked(migrated, column: str) -> None:
    [(comment,)] = migrated.query(
        "SELECT col_description(attrelid, attnum) FROM pg_attribute"
        " WHERE attrelid = 'dry_run_log'::regclass AND attname = %s",
        (column,),
    )
    assert comment.endswith("Personal data.")


@pytest.mark.parametrize(
    ("question", "index"),
    [
        pytest.param(
            "SELECT * FROM dry_run_log WHERE tenant_id = 'tenant-7' ORDER BY created_at DESC LIMIT 20",
            "dry_run_log_tenant_id_created_at_idx",
            id="newest decisions for a tenant",
        ),
        pytest.param(
            "SELECT canal_decidido, count(*) FROM dry_run_log"
            " WHERE tenant_id = 'tenant-7' AND created_at >= now() - interval '1 day'"
            " GROUP BY canal_decidido",
            "dry_run_log_tenant_id_created_at_idx",
            id="channels of a tenant since yesterday",
        ),
        pytest.param(
            "SELECT * FROM dry_run_log WHERE lead_id = 'lead-7' ORDER BY created_at DESC",
            "dry_run_log_lead_id_created_at_idx",
            id="what was decided for a lead",
        ),
        pytest.param(
            "DELETE FROM dry_run_log WHERE tenant_id = 'tenant-7' AND lead_id = 'lead-7'",
            "dry_run_log_lead_id_created_at_idx",
            id="forget a lead",
        ),
        pytest.param(
            "SELECT razao_bloqueio, count(*) FROM dry_run_log"
            " WHERE NOT disparo_seria_executado AND created_at >= now() - interval '1 day'"
            " GROUP BY razao_bloqueio",
            "dry_run_log_blocked_created_at_idx",
            id="what was blocked since yesterday and why",
        ),
        pytest.param(
            "SELECT * FROM dry_run_log WHERE disparo_seria_executado = false ORDER BY created_at DESC LIMIT 20",
            "dry_run_log_blocked_created_at_idx",
            id="what was blocked last",
        ),
    ],
)
def test_the_question_is_answered_by_its_index(busy_log, question: str, index: str) -> None:
    with busy_log.connect() as connection:
        connection.execute("SET enable_seqscan = off")
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {question}"))
    assert index in plan, plan


def test_down_removes_everything_and_can_run_twice(migrated) -> None:
    insert(migrated)
    migrated.execute(DOWN)
    migrated.execute(DOWN)
    assert migrated.query("SELECT relname FROM pg_class WHERE relname LIKE 'dry\\_run\\_log%'") == []


def test_up_works_again_after_down(migrated) -> None:
    migrated.execute(DOWN)
    migrated.execute(UP)
    assert verdicts(migrated) == [True] * 7


def test_down_stops_at_a_view_on_the_log(migrated) -> None:
    migrated.execute("CREATE VIEW blocked AS SELECT * FROM dry_run_log WHERE NOT disparo_seria_executado")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        migrated.execute(DOWN)


def test_every_verify_statement_is_false_before_and_true_after(database) -> None:
    assert verdicts(database) == [False] * 7
    database.execute(UP)
    assert verdicts(database) == [True] * 7


@pytest.mark.parametrize(
    ("damage", "statement"),
    [
        pytest.param("ALTER TABLE dry_run_log DROP COLUMN ambiente", 2, id="column missing"),
        pytest.param(
            "ALTER TABLE dry_run_log DROP COLUMN ambiente, ADD COLUMN ambiente integer",
            2,
            id="column of another type",
        ),
        pytest.param("ALTER TABLE dry_run_log ALTER lead_email SET NOT NULL", 3, id="column that may not be null"),
        pytest.param(
            "ALTER TABLE dry_run_log ADD COLUMN lead_documento text NOT NULL",
            4,
            id="thirteenth column required",
        ),
        pytest.param("ALTER TABLE dry_run_log ALTER log_id DROP IDENTITY", 5, id="key without identity"),
        pytest.param("ALTER TABLE dry_run_log DROP CONSTRAINT dry_run_log_pkey", 5, id="key missing"),
        pytest.param("ALTER TABLE dry_run_log ALTER created_at DROP DEFAULT", 6, id="time without default"),
        pytest.param("DROP INDEX dry_run_log_lead_id_created_at_idx", 7, id="index missing"),
        pytest.param(
            "DROP INDEX dry_run_log_lead_id_created_at_idx;"
            " CREATE INDEX dry_run_log_lead_id_created_at_idx ON dry_run_log (lead_nome)",
            7,
            id="index on other columns",
        ),
        pytest.param(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'dry_run_log_blocked_created_at_idx'::regclass",
            7,
            id="index invalid",
        ),
        pytest.param(
            "UPDATE pg_index SET indisready = false"
            " WHERE indexrelid = 'dry_run_log_tenant_id_created_at_idx'::regclass",
            7,
            id="index not ready",
        ),
    ],
)
def test_verify_sees_the_damage(migrated, damage: str, statement: int) -> None:
    migrated.execute(damage)
    assert verdicts(migrated)[statement - 1] is False


def test_verify_sees_an_invalid_index_that_applying_again_passes_over(migrated) -> None:
    migrated.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'dry_run_log_lead_id_created_at_idx'::regclass"
    )
    migrated.execute(UP)
    assert verdicts(migrated) == [True] * 6 + [False]


def test_another_schema_of_the_role_works_as_well(database) -> None:
    with database.connect() as connection:
        connection.execute("CREATE SCHEMA agents; SET search_path = agents, public, pg_catalog")
        connection.execute(UP)
        cursor = connection.execute(VERIFY)
        assert cursor.fetchall() == [(True,)]
        while cursor.nextset():
            assert cursor.fetchall() == [(True,)]
        assert connection.execute("SELECT 'dry_run_log'::regclass = 'agents.dry_run_log'::regclass").fetchone() == (
            True,
        )
