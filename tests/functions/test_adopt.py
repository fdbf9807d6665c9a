"""The actions adopt and baseline: compared with what the build's replay has shown, confirmed, and recorded by apply."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aurora_migrations.compiler.check import check
from aurora_migrations.embedded import binaries
from aurora_migrations.engine import discover, manifest
from aurora_migrations.engine.errors import InvalidInput, MigrationMissing, VerificationFailed
from aurora_migrations.replay.history import replay
from tests.database.helpers import applied
from tests.functions.helpers import Machine

pytestmark = pytest.mark.usefixtures("replays")
DBMATE = "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY); "
ADOPT, CONFIRMED = {"action": "adopt"}, {"action": "adopt", "confirm": "2"}


@pytest.fixture
def shop(machine: Machine) -> Machine:
    """Two migrations that dbmate has applied, and one that is pending."""
    for number, table in enumerate(("users", "orders", "bills"), 1):
        machine.migrations.write(f"00{number}_{table}.sql", f"CREATE TABLE {table} (id int PRIMARY KEY);")
    build(machine)
    machine.database.execute("CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE orders (id int PRIMARY KEY)")
    machine.database.execute(f"{DBMATE} INSERT INTO schema_migrations VALUES ('001'), ('002')")
    return machine


def build(machine: Machine) -> None:
    """Writes the manifest, with what a replay shows."""
    folder = machine.migrations.dir
    made = replay(check(discover(folder)))
    assert made.problem is None
    scripts = {
        step.migration: {"apply": replace(step.up, change=outcome.change, unreplayed=outcome.unreplayed)}
        for step, outcome in zip(made.steps, made.outcomes, strict=True)
    }
    manifest.write(folder, scripts, binaries.find().major)


def test_adopt_shows_then_records_and_the_next_run_continues(shop: Machine) -> None:
    plan = shop.run(ADOPT)
    assert (plan["status"], plan["action"], plan["migration"]) == ("success", "adopt", "002")
    assert plan["message"] == (
        "To record as applied: 2 migrations, 001 to 002, from public.schema_migrations (dbmate); no differences"
    )
    assert [(each["name"], each["rows"]) for each in plan["migrations"]] == [
        ("001_users.sql", ["001"]),
        ("002_orders.sql", ["002"]),
    ]
    assert (plan["differences"], plan["migrations_omitted"], plan["accept"]) == ([], 0, [])
    assert shop.database.query("SELECT to_regnamespace('aurora_migrations')::text") == [(None,)], "it only shows"
    answer = shop.run(CONFIRMED)
    assert answer["message"] == "Recorded 2 migrations as applied by dbmate: 001 to 002"
    assert ([each["migration"] for each in answer["applied"]], answer["migration"]) == (["001", "002"], "002")
    assert [table["table"] for table in answer["verified"]["tables"]] == ["users", "orders"]
    shop.execution = "next"
    assert [each["migration"] for each in shop.run({})["applied"]] == ["003"]
    assert applied(shop.database) == ["001", "002", "003"]


def test_a_difference_is_refused_until_it_is_accepted_by_name(shop: Machine) -> None:
    shop.database.execute("CREATE TABLE old (id int)")
    (difference,) = shop.run(ADOPT)["differences"]
    assert difference["name"] == "public.old"
    for step in ("preflight", "apply"):
        refused = shop.refused(step, InvalidInput, CONFIRMED)
        assert refused["message"] == (
            "The database isn't what the files make: table public.old: it is there, but no file makes it."
        )
    shop.run({**CONFIRMED, "accept": ["public.old"]})
    assert applied(shop.database) == ["001", "002"]


def test_verify_leaves_out_what_was_accepted_until_it_changes_again(shop: Machine) -> None:
    execute = shop.database.execute
    execute("ALTER TABLE users ADD COLUMN by_hand int; DROP TABLE orders; CREATE TABLE old (id int PRIMARY KEY)")
    accepted = shop.run(ADOPT)["accept"]
    assert accepted == ["public.users", "public.old", "public.orders"]
    answer = shop.run({**CONFIRMED, "accept": accepted})  # its own verify is the first one
    known = ["table public.orders", "column public.users.by_hand", "table public.old"]
    assert answer["verified"]["catalogue"]["accepted"] == known
    assert answer["verified"]["catalogue"]["unexpected"] == ["table public.schema_migrations"]
    execute("DROP TABLE old; ALTER TABLE users ALTER id TYPE bigint")
    refused = shop.refused("verify", VerificationFailed, {"action": "verify"})
    assert [check["promise"] for check in refused["checks"]] == ["column public.users.id"]
    execute("ALTER TABLE users ALTER id TYPE int; CREATE TABLE orders (id int PRIMARY KEY)")
    mended = shop.run({"action": "verify"})["verified"]["catalogue"]
    assert mended["accepted"] == ["column public.users.by_hand"]
    execute("DROP TABLE orders; CREATE TABLE orders (id bigint PRIMARY KEY)")
    refused = shop.refused("verify", VerificationFailed, {"action": "verify"})
    assert [check["promise"] for check in refused["checks"]] == ["column public.orders.id"]


def test_what_a_migration_makes_is_no_longer_accepted_otherwise(shop: Machine) -> None:
    execute = shop.database.execute
    execute("ALTER TABLE users ALTER id TYPE bigint")
    shop.run({**CONFIRMED, "accept": ["public.users"]})
    shop.migrations.write("004_wide.sql", "ALTER TABLE users ALTER id TYPE numeric;")
    build(shop)
    shop.execution = "next"
    assert shop.run({})["verified"]["catalogue"]["accepted"] == []
    execute("ALTER TABLE users ALTER id TYPE bigint")
    refused = shop.refused("verify", VerificationFailed, {"action": "verify"})
    assert [check["promise"] for check in refused["checks"]] == ["column public.users.id"]


def test_what_has_changed_since_can_be_accepted_later(shop: Machine) -> None:
    shop.run(CONFIRMED)
    shop.database.execute("ALTER TABLE users ALTER id TYPE bigint")
    shop.refused("verify", VerificationFailed, {"action": "verify"})
    later = {"action": "baseline", "target": "2", "accept": ["public.users", "public.schema_migrations"]}
    assert shop.run(later)["message"] == "To record as accepted: 2 differences"
    shop.execution = "later"
    assert shop.run({**later, "confirm": "2"})["message"] == "Recorded as accepted: 2 differences"
    assert shop.run({"action": "verify"})["verified"]["catalogue"]["accepted_count"] == 2
    shop.database.execute("ALTER TABLE users ALTER id TYPE int; DROP TABLE schema_migrations")
    shop.execution = "last"
    shop.run({**CONFIRMED, "action": "baseline", "target": "2"})
    assert shop.database.query("SELECT count(*) FROM aurora_migrations.accepted") == [(0,)]


def test_what_was_not_seen_is_not_recorded(shop: Machine) -> None:
    assert "is '3', but the newest" in shop.refused("preflight", InvalidInput, {**CONFIRMED, "confirm": "3"})["message"]


def test_preflight_refuses_runs_once_the_other_tool_has_gone_on(shop: Machine) -> None:
    shop.run(CONFIRMED)
    shop.database.execute("INSERT INTO schema_migrations VALUES ('003')")
    for asked in ({}, {"action": "plan"}, {"action": "rollback", "target": "2", "confirm": "2"}):
        refused = shop.refused("preflight", MigrationMissing, asked)
        assert refused["message"] == (
            "Since its history (public.schema_migrations) was adopted, dbmate has applied 003."
        )
        assert (refused["tool"], refused["gained"]) == ("dbmate", ["003"])
    shop.refused("apply", MigrationMissing)
    assert shop.run({"action": "status"})["status"] == "success", "reading goes on"


def test_a_baseline_is_recorded(shop: Machine) -> None:
    shop.database.execute("DROP TABLE schema_migrations")
    assert shop.run({"action": "baseline", "target": "2"})["migration"] == "002"
    answer = shop.run({"action": "baseline", "target": "2", "confirm": "002"})
    assert answer["message"] == "Recorded 2 migrations as applied: 001 to 002"


def test_without_a_replay_nothing_is_proved(shop: Machine) -> None:
    shop.write_manifest()
    assert "was built without a replay" in shop.refused("preflight", InvalidInput, ADOPT)["message"]


def test_a_file_that_cant_be_replayed_must_be_accepted(shop: Machine) -> None:
    """What it makes is unknown, and so the table is one that no file makes."""
    package = manifest.Manifest(shop.migrations.dir)
    scripts = {each: {"apply": package.script("apply", each)} for each in package.package.migrations}
    orders = package.package.by_version[2]
    scripts[orders] = {"apply": replace(scripts[orders]["apply"], change=None, unreplayed="it needs PostGIS")}
    manifest.write(shop.migrations.dir, scripts, binaries.find().major)
    found = shop.run(ADOPT)
    assert found["accept"] == ["public.orders", "002_orders.sql"]
    assert found["differences"][1]["expected"] == "unknown: it can't be replayed (it needs PostGIS)"
    shop.run({**CONFIRMED, "accept": found["accept"]})
