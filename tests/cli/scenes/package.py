"""Families package and secret: what a function finds where it is deployed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.exceptions import EndpointConnectionError

from aurora_migrations.engine import errors, manifest
from aurora_migrations.engine.manifest import DETAILS
from aurora_migrations.engine.migrations import INDEX
from tests.cli.conftest import Answer
from tests.cli.stage import Secrets, Stage, refusal
from tests.database.helpers import backend

UNREACHABLE = EndpointConnectionError(endpoint_url="https://secretsmanager.eu-west-1.amazonaws.com/")


# ---- manifests ------------------------------------------------------------------------------------------------------


def _index(stage: Stage) -> Path:
    _ = stage.machine
    return stage.two.dir / INDEX


def _written(stage: Stage, data: Any) -> Answer:
    text = data if isinstance(data, str) else json.dumps(data)
    _index(stage).write_text(text, encoding="utf-8")
    return stage.refused(errors.InvalidManifest)


def _changed(stage: Stage, **changes: Any) -> Answer:
    """With a checksum that fits: so nobody but another version of the product writes it."""
    path = _index(stage)
    index = json.loads(path.read_bytes())
    index |= changes
    body = json.dumps(index.pop("migrations"))
    rest = f"{body}}}\n"
    index["checksum"] = hashlib.sha256(rest.encode()).hexdigest()
    head = json.dumps(index)[:-1]
    path.write_text(f'{head}, "migrations":\n{rest}', encoding="utf-8", newline="\n")
    return stage.refused(errors.InvalidManifest)


def _edited(stage: Stage) -> Answer:
    _ = stage.machine
    stage.write(f001_users="SELECT 'edited';\n")
    return stage.refused(errors.InvalidManifest)


def _gone(stage: Stage) -> Answer:
    _index(stage).unlink()
    return stage.refused(errors.InvalidManifest)


def _of_others(stage: Stage) -> Answer:
    _ = stage.machine
    stage.write(f003_c="SELECT 1;\n")
    return stage.refused(errors.InvalidManifest)


def _details(stage: Stage) -> Path:
    return _index(stage).with_name(DETAILS)


def _torn_details(stage: Stage) -> Answer:
    path = _details(stage)
    path.write_bytes(path.read_bytes().replace(b"users", b"xxxxx"))
    return stage.refused(errors.InvalidManifest)


def _no_details(stage: Stage) -> Answer:
    _details(stage).unlink()
    return stage.refused(errors.InvalidManifest)


def _edited_meanwhile(stage: Stage) -> Answer:
    """An editor saves a file while the manifest is being written."""
    write = manifest.write

    def edits(folder: Path, *more: Any) -> str:
        (folder / "001_users.sql").write_text("SELECT 2;\n", encoding="utf-8")
        return write(folder, *more)

    stage.patch.setattr(manifest, "write", edits)
    return stage.call("check", "--write-manifest")


MANIFEST = [
    ("a file was edited afterwards", _edited),
    ("there is none", _gone),
    ("it isn't JSON", lambda s: _written(s, "{")),
    ("another product wrote it, or it was edited", lambda s: _written(s, {"name": "other", "format": 1})),
    ("another version wrote it", lambda s: _changed(s, format=99)),
    ("an entry has another version's form", lambda s: _changed(s, migrations=[{"version": 1}])),
    ("its digest doesn't match", lambda s: _changed(s, digest="0" * 64)),
    ("it doesn't match the files", _of_others),
    ("the details don't match", _torn_details),
    ("the details are missing", _no_details),
    ("a file was edited while it was written", _edited_meanwhile),
]


# ---- the package ----------------------------------------------------------------------------------------------------


def _edited_while_running(stage: Stage) -> Answer:
    """The first file runs long enough for the second to be edited, which is too large to be read before that."""
    large = "CREATE TABLE orders (id integer);\n" + "-- large\n" * 10_000
    stage.write(f001_users="CREATE TABLE users (id integer);\nSELECT pg_sleep(0.5);\n", f002_orders=large)

    def edit() -> None:
        backend(stage.database, "pg_sleep")
        stage.write(f002_orders="CREATE TABLE orders (id bigint);\n")

    return stage.beside(edit, "run")


# ---- secrets --------------------------------------------------------------------------------------------------------


def _elsewhere(stage: Stage) -> Answer:
    stage.machine.variables["DATABASE_SECRET_ARN"] = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:gone-AbCdEf"
    return stage.refused(errors.SecretNotFound)


def _secret(stage: Stage, text: str = "", /, **members: Any) -> Answer:
    """Secrets Manager has this instead of the usual one."""
    machine = stage.machine
    machine.put(text or {**machine.secret, **members})
    return stage.refused(errors.SecretMalformed)


def _nowhere(stage: Stage) -> Answer:
    stage.machine.variables["DATABASE_NAME"] = ""
    return stage.refused(errors.SecretMalformed)


def _fails(kind: type[errors.MigratorError], code: str) -> Callable[[Stage], Answer]:
    """Secrets Manager refuses with this code."""
    error = refusal(code, "told by AWS", "GetSecretValue")
    return lambda s: s.refused(kind, secrets=Secrets(error))


SCENES = {
    "InvalidManifest": MANIFEST,
    "PackageChanged": [
        (
            "another package was deployed during the run",
            lambda s: s.refused(errors.PackageChanged, step="apply", package="0" * 64),
        ),
        ("a file was edited during the run", _edited_while_running),
    ],
    "SecretNotFound": [
        ("it belongs to another account", _elsewhere),
        ("it is scheduled for deletion", _fails(errors.SecretNotFound, "InvalidRequestException")),
        ("the setting isn't an ARN", _fails(errors.SecretNotFound, "ValidationException")),
    ],
    "SecretAccessDenied": [
        ("the role may not read it", _fails(errors.SecretAccessDenied, "AccessDeniedException")),
        ("the role may not use its key", _fails(errors.SecretAccessDenied, "DecryptionFailure")),
        ("the role's credentials have expired", _fails(errors.SecretAccessDenied, "ExpiredTokenException")),
    ],
    "SecretMalformed": [
        ("it has no username", lambda s: _secret(s, "{}")),
        ("it has no password", lambda s: _secret(s, password=None)),
        ("it isn't JSON", lambda s: _secret(s, "postgres:secret")),
        ("another product wrote it", lambda s: _secret(s, engine="mysql")),
        ("a member isn't text", lambda s: _secret(s, username=["a"])),
        ("the port isn't a number", lambda s: _secret(s, port="five")),
        ("it contradicts the settings", lambda s: _secret(s, host="other.example.org")),
        ("neither it nor a setting names the database", _nowhere),
    ],
    "SecretsUnreachable": [
        ("the network doesn't reach it", lambda s: s.refused(errors.SecretsUnreachable, secrets=Secrets(UNREACHABLE))),
        ("it is out of order", _fails(errors.SecretsUnreachable, "InternalServiceError")),
    ],
}
