"""A local cloud with `on_verify_failure` = `rollback`, in this process: `python -m tests.local.undo URL FOLDER`.

Writes what came of two runs as JSON, for tests/local/test_undo.py. In a process of its own, as moto's services are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

from aurora_migrations.cdk.naming import Names
from aurora_migrations.embedded.server import Server
from aurora_migrations.local.account import ENVIRONMENT
from aurora_migrations.local.cloud.cloud import opened
from aurora_migrations.local.cloud.template_cache import synthesize
from tests.paths import ROOT
from tests.workflow.helpers import Workflow

PRICES = "-- verify always: rows prices = 1\nCREATE TABLE prices (id int);\nINSERT INTO prices VALUES (1);"


def main(url: str, folder: Path) -> None:
    migrations = folder / "migrations"
    migrations.mkdir(parents=True)
    template = folder / "template.json"
    synthesize(template, "disable", on_verify_failure="rollback")
    stack, found = (Names(ENVIRONMENT).stack, template.read_text("utf-8")), dict[str, Any]()
    (migrations / "001_prices.sql").write_text(PRICES, encoding="utf-8")
    with opened(url, migrations, ROOT / "build" / "cloud", hurry=True, stack=stack) as cloud:
        workflow = Workflow(cloud, cast(Server, None))  # nothing here needs it: the database is read when all is over
        found["first"] = workflow.run().status
        workflow.deploy(
            **{
                "_002_orders": "CREATE TABLE orders (id int);",
                "_002_orders.down": "DROP TABLE orders;",
                "_003_more": "ALTER TABLE prices ADD COLUMN cents int;\nINSERT INTO prices VALUES (2);",
                "_003_more.down": "DELETE FROM prices WHERE id = 2;\nALTER TABLE prices DROP COLUMN cents;",
            }
        )
        ended = workflow.run(mails=1)
        found |= {"status": ended.status, "error": ended.error, "raised": ended.raised, "entered": ended.entered}
        found["mails"] = [[mail.subject, mail.body] for mail in ended.mails]
        looked = workflow.run({"action": "verify", "trigger": "cli"})
        found["later"] = [looked.status, looked.entered]
        found["refused"] = [f"{each.action} {each.resource}" for each in cloud.server.made if not each.allowed]
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
