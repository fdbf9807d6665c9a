"""Stand-ins for extensions that the embedded PostgreSQL hasn't got: their signatures, as SQL, in `standins/`.

They are installed as extensions, so that CREATE EXTENSION works and their members are none of the migration's objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "standins"


@dataclass(frozen=True)
class StandIn:
    """An extension, as its control file describes it."""

    name: str
    versions: tuple[str, ...]  # that a file may name, the default first
    comment: str
    schema: str = ""  # which it always has; otherwise it is relocatable
    requires: str = ""


STAND_INS = (
    StandIn("pgcrypto", ("1.3", "1.4"), "cryptographic functions"),
    StandIn("uuid-ossp", ("1.1",), "generate universally unique identifiers (UUIDs)"),
    StandIn("aws_commons", ("1.2", "1.1", "1.0"), "Common data types across AWS services", "aws_commons"),
    StandIn("aws_s3", ("1.2", "1.1", "1.0"), "AWS S3 extension for importing data from S3", "aws_s3", "aws_commons"),
    StandIn("aws_lambda", ("1.0",), "AWS Lambda integration", "aws_lambda", "aws_commons"),
    StandIn("pg_cron", ("1.6", "1.5", "1.4"), "Job scheduler for PostgreSQL", "pg_catalog"),
    StandIn("pgaudit", ("16.0", "1.7"), "provides auditing functionality"),
    StandIn("pg_hint_plan", ("1.6", "1.5"), "optimizer hints for PostgreSQL", "pg_catalog"),
)


def texts() -> dict[str, str]:
    """The files of all stand-ins, by their names in a folder `extension`."""
    files = {}
    for each in STAND_INS:
        place = f"schema = '{each.schema}'\nrelocatable = false\n" if each.schema else "relocatable = true\n"
        needs = f"requires = '{each.requires}'\n" if each.requires else ""
        known = f"comment = '{each.comment}'\ndefault_version = '{each.versions[0]}'\ntrusted = true\n"
        files[f"{each.name}.control"] = known + place + needs
        sql = (FOLDER / f"{each.name}.sql").read_text("utf-8")
        files |= {f"{each.name}--{version}.sql": sql for version in each.versions}
    return files
