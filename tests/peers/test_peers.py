"""What other tools themselves have made is adopted, or refused where it can't be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora_migrations.adoption.files import write_files
from aurora_migrations.adoption.layouts import lay_out
from aurora_migrations.cli.main import main
from aurora_migrations.embedded.server import Server
from benchmarks.stall.prefixes import Unavailable
from tests import servers
from tests.database.helpers import PATIENCE, until
from tests.peers.tools import PEERS, WANTED, Peer
from tests.servers import Database, Migrations

pytestmark = pytest.mark.skipif(
    WANTED not in os.environ, reason="other tools run only by `python -m tests.peers`, which installs them"
)
COUNT = 30


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One is enough: the tools' tables are the same on all."""
    with servers.started(servers.available()[0]) as running:
        yield running


@pytest.fixture(params=PEERS, ids=[peer.name for peer in PEERS])
def peer(request: pytest.FixtureRequest) -> Peer:
    chosen: Peer = request.param
    try:
        chosen.programs()
    except Unavailable as error:
        pytest.skip(f"{chosen.name} isn't installed: {error}")
    return chosen


class Shop:
    """A tool's folder and ours, and a database."""

    def __init__(self, peer: Peer, folder: Path, migrations: Migrations, database: Database) -> None:
        self.peer, self.folder, self.migrations, self.database = peer, folder, migrations, database
        folder.mkdir()

    def write(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            self.peer.write(self.folder, number, sql(number))

    def run(self, fails: bool = False) -> None:
        done = self.peer.run(self.folder, self.database.url)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr

    def lay_out(self, last: int) -> str:
        """Our files, and the number of the last one."""
        for path in self.migrations.dir.iterdir():
            path.unlink()
        if self.peer.ours is None:
            write_files(self.migrations.dir, lay_out(self.folder / self.peer.folder, self.peer.name).texts)
        else:
            for number in range(1, last + 1):
                self.migrations.write(self.peer.ours(number), sql(number))
        return self.label(last)

    def label(self, number: int) -> str:
        names = sorted(path.name for path in self.migrations.dir.glob("*.sql") if not path.name.endswith(".down.sql"))
        return names[number - 1].partition("_")[0] if self.peer.name != "postgres-migrations" else str(number)

    def call(self, verb: str, *more: str) -> int:
        return main([verb, *more, "--migrations", str(self.migrations.dir), "--database-url", self.database.url])


def sql(number: int) -> str:
    """Several statements, with what a catalogue has: a table, an index, a comment, a function."""
    return (
        f"CREATE TABLE item_{number} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text NOT NULL);\n"
        f"CREATE INDEX item_{number}_title_idx ON item_{number} (lower(title));\n"
        f"COMMENT ON TABLE item_{number} IS 'Number {number}';\n"
        f"CREATE FUNCTION count_{number}() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM item_{number}';\n"
    )


@pytest.fixture
def shop(peer: Peer, tmp_path: Path, migrations: Migrations, database: Database) -> Shop:
    return Shop(peer, tmp_path / "theirs", migrations, database)


def test_thirty_migrations_are_adopted_and_ours_go_on(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.write(1, COUNT)
    shop.run()
    last = shop.lay_out(COUNT)
    assert shop.call("adopt", "--confirm", last) == 0, capsys.readouterr().err
    assert f"no differences\nRecorded {COUNT} migrations as applied by {shop.peer.name}: " in capsys.readouterr().out
    shop.migrations.write(f"{int(last) + 1}_more.sql", "ALTER TABLE item_30 ADD COLUMN note text;")
    assert shop.call("run") == 0
    shop.run()  # nothing of its was touched: it has nothing to do
    assert shop.call("run") == 0, capsys.readouterr().err


def test_half_a_history_is_adopted_and_ours_do_the_rest(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.write(1, COUNT // 2)
    shop.run()
    shop.write(COUNT // 2 + 1, COUNT)
    shop.lay_out(COUNT)
    assert shop.call("adopt", "--confirm", shop.label(COUNT // 2)) == 0, capsys.readouterr().err
    assert shop.call("run") == 0
    assert shop.database.query("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'item_%'") == [(COUNT,)]


def test_after_a_failure_what_is_applied_is_adopted_or_the_history_is_refused(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fourth fails in its last statement. These tools roll it back: their histories and the catalogue agree."""
    shop.write(1, 3)
    shop.peer.write(shop.folder, 4, f"{sql(4)}SELECT 1 / 0;\n")
    shop.run(fails=True)
    (count,) = shop.database.query("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'item_%'")[0]
    shop.lay_out(4)
    if shop.peer.name == "sqitch":  # its last event is a failure, whatever its history has
        assert (count, shop.call("adopt", "--confirm", shop.label(3))) == (3, 2)
        assert "item_4 failed in its last run" in capsys.readouterr().err
    elif count == 3:
        assert shop.call("adopt", "--confirm", shop.label(3)) == 0, capsys.readouterr().err
    else:  # all in one transaction
        assert count == 0
        assert shop.call("adopt", "--confirm", shop.label(3)) == 2
        error = capsys.readouterr().err
        assert "has applied nothing here" in error or "has no history of another tool" in error


def test_a_gap_is_refused(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that came from another branch, with a lower number, and was never applied."""
    if shop.peer.name in ("alembic", "drizzle", "postgres-migrations", "graphile-migrate"):
        pytest.skip(f"{shop.peer.name} keeps a line, which has no gaps")
    for number in (1, 3):
        shop.peer.write(shop.folder, number, sql(number))
    if shop.peer.name == "django":
        text = (shop.folder / "shop/migrations/0003_item.py").read_text().replace("0002_item", "0001_item")
        (shop.folder / "shop/migrations/0003_item.py").write_text(text)
    shop.run()
    shop.peer.write(shop.folder, 2, sql(2))
    shop.lay_out(3)
    assert shop.call("adopt", "--confirm", shop.label(3)) == 2
    assert f"Not in {shop.peer.name}'s history, but older than" in capsys.readouterr().err


def test_a_run_of_the_tool_is_seen(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.write(1, 2)
    shop.run()
    shop.lay_out(2)
    shop.peer.write(shop.folder, 3, "SELECT pg_sleep(60);\n")
    command = shop.peer.command(shop.peer.programs(), shop.folder, shop.database.url)
    environment = shop.peer.environment(shop.folder, shop.database.url)
    sleeping = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()"
    with subprocess.Popen(
        command, cwd=shop.folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        try:
            until(lambda: shop.database.query(sleeping), "its migration", PATIENCE * 4)
            code = shop.call("adopt", "--confirm", shop.label(2))
        finally:
            running.kill()
            shop.database.query(sleeping.replace("pid FROM", "pg_terminate_backend(pid) FROM"))
    error = capsys.readouterr().err
    if shop.peer.locks:
        assert code == 1, error
        assert "is at work" in error or "can't be adopted as it is" in error
    else:  # it has no lock: what it has committed by then is adopted, and guarded
        assert code == 0, error
