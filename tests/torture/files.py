"""The migrations: one of each kind, unit by unit, and what a database holds before them.

No unit can run twice without a trace: it signs a ledger, which numbers its rows, or adds to a number. Those that
only make something new are sent with the COMMIT of the file before.
"""

from dataclasses import dataclass
from pathlib import Path

PAUSE = 0.12  # seconds, for a run that a fault is to hit
OWNER = "torture_owner"  # a role, which belongs to the whole server

# pause() takes as long as the session's start says: RESET ALL goes back to that.
BEFORE = f"""
    CREATE TABLE ledger (number bigint, step text);
    CREATE TABLE counter AS SELECT 1 AS n;
    CREATE TABLE accounts AS SELECT n AS id, n AS balance FROM generate_series(1, 40) AS n;
    CREATE SCHEMA owned AUTHORIZATION {OWNER};
    CREATE FUNCTION pause(times float DEFAULT 1) RETURNS void LANGUAGE sql AS
        $$ SELECT pg_sleep(times * coalesce(nullif(current_setting('torture.pause', true), ''), '0')::float) $$;
    CREATE FUNCTION sign(what text) RETURNS void LANGUAGE sql SECURITY DEFINER AS
        'INSERT INTO public.ledger SELECT count(*) + 1, what FROM public.ledger';
    CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.pause(); PERFORM public.sign(TG_TABLE_NAME || ' at commit'); RETURN NULL; END $$;
    CREATE TABLE late (n integer);
    CREATE FUNCTION defer(n integer) RETURNS void LANGUAGE sql AS 'INSERT INTO public.late VALUES (n)';
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION at_commit();
"""
OFF = "-- migration: transaction = off\n"


@dataclass(frozen=True)
class File:
    """A migration: the texts of its units, and those of its down file.

    Attributes:
        options: what stands at the top of both files.
        verify: the text of its verify file.
    """

    name: str
    up: tuple[str, ...]
    down: tuple[str, ...]
    options: str = ""
    verify: str = ""

    @property
    def label(self) -> str:
        """Its number, as the product writes it."""
        return self.name.partition("_")[0]

    def write(self, folder: Path) -> None:
        """Writes its files."""
        (folder / f"{self.name}.sql").write_text(self.options + "\n".join(self.up) + "\n")
        (folder / f"{self.name}.down.sql").write_text(self.options + "\n".join(self.down) + "\n")
        if self.verify:
            (folder / f"{self.name}.verify.sql").write_text(self.verify)


FILES = (
    File(
        "001_plain",
        (
            """
            CREATE TABLE orders (id integer PRIMARY KEY, note text NOT NULL);
            INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 300) AS n;
            SELECT pause();
            CREATE INDEX orders_note ON orders (note);
            SELECT sign('001');
            """,
        ),
        ("DROP TABLE orders;\nINSERT INTO ledger SELECT count(*) + 1, '001 down' FROM ledger, pause();",),
    ),
    File(
        "002_not_idempotent",
        (
            """
            BEGIN;
            UPDATE accounts SET balance = balance * 2 + 1;
            UPDATE counter SET n = n + 1 FROM pause();
            INSERT INTO accounts SELECT 100 + n, n FROM counter;
            INSERT INTO ledger SELECT count(*) + 1, '002' FROM ledger;
            COMMIT;
            """,
        ),
        (
            """
            DELETE FROM accounts WHERE id > 100;
            UPDATE accounts SET balance = (balance - 1) / 2;
            UPDATE counter SET n = n + 10 FROM pause();
            INSERT INTO ledger SELECT count(*) + 1, '002 down' FROM ledger;
            """,
        ),
    ),
    File(
        "003_blocks",
        (
            "BEGIN;\nCREATE TABLE stock (id integer PRIMARY KEY, amount integer);\nSELECT sign('003.1');\nCOMMIT;",
            """
            BEGIN ISOLATION LEVEL REPEATABLE READ;
            INSERT INTO stock SELECT id, balance FROM accounts;
            SELECT pause();
            SELECT sign('003.2');
            COMMIT;
            """,
            """
            BEGIN;
            ALTER TABLE accounts ADD COLUMN stock integer;
            UPDATE accounts SET stock = balance;
            SELECT pause();
            SELECT sign('003.3');
            COMMIT;
            """,
        ),
        (
            "BEGIN;\nALTER TABLE accounts DROP COLUMN stock;\nSELECT pause();\nSELECT sign('003 down 1');\nCOMMIT;",
            "BEGIN;\nUPDATE counter SET n = n + 100;\nSELECT pause();\nSELECT sign('003 down 2');\nCOMMIT;",
            "BEGIN;\nDROP TABLE stock;\nSELECT sign('003 down 3');\nCOMMIT;",
        ),
    ),
    File(
        "004_deferred",
        (
            """
            CREATE TABLE parents (id integer PRIMARY KEY);
            CREATE TABLE children (id integer, parent integer REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
            INSERT INTO children VALUES (1, 1), (2, 1);
            INSERT INTO children SELECT 3, 1 FROM defer(4);
            INSERT INTO parents SELECT 1 FROM pause(), sign('004');
            """,
        ),
        (
            """
            DROP TABLE children, parents;
            INSERT INTO late SELECT count(*) FROM late;
            INSERT INTO ledger SELECT count(*) + 1, '004 down' FROM ledger;
            """,
        ),
    ),
    File(
        "005_statements",
        (
            "CREATE TABLE visits (n integer);",
            "INSERT INTO visits SELECT count(*) FROM visits;",
            "INSERT INTO visits SELECT count(*) FROM visits, pause();",
            "INSERT INTO visits SELECT count(*) FROM visits;",
            "SELECT sign('005.5');",
        ),
        (
            "SELECT sign('005 down 1');",
            "UPDATE counter SET n = n + (SELECT count(*) FROM visits, pause());",
            "DROP TABLE visits;",
            "SELECT sign('005 down 4');",
        ),
        options=OFF,
    ),
    File(
        "006_role",
        (
            f"""
            SET ROLE {OWNER};
            SET search_path = owned;
            CREATE TABLE kept (id integer);
            INSERT INTO kept VALUES (1);
            SELECT public.pause();
            SELECT public.sign('006 by ' || current_user);
            """,
        ),
        (f"SET ROLE {OWNER};\nDROP TABLE owned.kept;\nSELECT public.pause();\nSELECT public.sign('006 down');",),
    ),
    File(
        "007_role_in_parts",
        (
            f"SET ROLE {OWNER};",
            "SET search_path = owned, public;",
            "CREATE TABLE parts (n integer);",
            "INSERT INTO parts SELECT count(*) FROM parts, public.pause();",
            "SELECT public.sign('007.5 by ' || current_user);",
        ),
        (
            f"SET ROLE {OWNER};",
            "SELECT public.sign('007 down 2 by ' || current_user);",
            "SELECT public.pause();",
            "DROP TABLE owned.parts;",
        ),
        options=OFF,
    ),
    File(
        "008_temporary",
        (
            """
            CREATE TEMPORARY TABLE found AS SELECT id FROM accounts WHERE id <= 10;
            CREATE TABLE copies AS SELECT id, 0 AS times FROM found;
            UPDATE copies SET times = times + 1 FROM found, pause() WHERE found.id = copies.id;
            INSERT INTO copies SELECT 100, 0 FROM sign('008');
            """,
        ),
        (
            """
            CREATE TEMPORARY TABLE gone AS TABLE copies;
            DROP TABLE copies;
            SELECT pause();
            UPDATE counter SET n = n + (SELECT count(*) FROM gone);
            SELECT sign('008 down');
            """,
        ),
        verify="SELECT count(*) = 10 FROM copies, pause() WHERE times = 1;\n",
    ),
    File(
        "009_new",
        (
            """
            CREATE TABLE fresh (n integer PRIMARY KEY);
            INSERT INTO fresh SELECT n FROM generate_series(1, 100) AS n, pause();
            CREATE INDEX fresh_n ON fresh (n);
            INSERT INTO fresh SELECT 0 FROM sign('009');
            """,
        ),
        ("DROP TABLE fresh;\nSELECT pause();\nSELECT sign('009 down');",),
    ),
)
