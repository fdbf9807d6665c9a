"""What `import` refuses, and why."""

from __future__ import annotations

from tests.cli.conftest import Answer
from tests.cli.stage import Stage

GOOSE = {"1_users.sql": b"-- +goose Up\nCREATE TABLE users ();\n"}


def _import(stage: Stage, files: dict[str, bytes], *words: str) -> Answer:
    """Imports a folder with these files, beside the folder of the two migrations."""
    folder = stage.two.dir.parent / "theirs"
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return stage.call("import", "theirs", *words)


def _into_a_file(stage: Stage) -> Answer:
    (stage.two.dir.parent / "ours").touch()
    return _import(stage, GOOSE, "--yes", "--migrations", "ours/migrations")


INPUT = [
    ("there is nothing to import", lambda s: s.call("import", "nowhere")),
    ("another tool's folder", lambda s: _import(s, GOOSE, "--tool", "diesel")),
    ("two tools' folder", lambda s: _import(s, GOOSE | {"2_a.sql": b"-- migrate:up\n"})),
    ("a folder of this product", lambda s: _import(s, {"001_a.sql": b"SELECT 1;\n"})),
    ("a folder of no known tool", lambda s: _import(s, {"users.sql": b"SELECT 1;\n"})),
    ("names without numbers", lambda s: _import(s, {"init/migration.sql": b"SELECT 1;\n"})),
    ("a duplicate version", lambda s: _import(s, {"V1__a.sql": b"SELECT 1;\n", "V1.0__b.sql": b"SELECT 2;\n"})),
    (
        "an order that differs from the numbers",
        lambda s: _import(s, dict.fromkeys(("1-a.sql", "15-b.sql", "1_c.sql"), b"-- migrate:up\n")),
    ),
    ("numbers that are taken", lambda s: _import(s, GOOSE, "--yes")),
    ("a folder imported into itself", lambda s: _import(s, GOOSE, "--migrations", "theirs")),
    ("a folder that can't be made", _into_a_file),
]
FILES = [
    ("a file of another tool without its marker", lambda s: _import(s, GOOSE | {"2_a.sql": b"SELECT 1;\n"})),
    ("a file of another tool isn't UTF-8", lambda s: _import(s, {"1_a/up.sql": b"SELECT '\xe9';\n"})),
]
CANCELLED = [("an import isn't confirmed", lambda s: _import(s.types("no"), GOOSE, "--migrations", "ours"))]
