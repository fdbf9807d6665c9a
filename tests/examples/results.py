"""Examples of what verify answers, by the name of the mail that tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.examples.examples import DEPLOYED, EXECUTION, TYPED

_TABLES: dict[str, Any] = {
    "tables": [
        {
            "table": "public.users",
            "exists": True,
            "rows": 1_204_117,
            "counted": False,
            "bytes": 181_403_648,
            "indexes": [{"index": "users_pkey", "state": "valid"}, {"index": "users_email_idx", "state": "valid"}],
        },
        {"table": "public.orders", "exists": True, "rows": 0, "counted": True, "bytes": 0, "indexes": []},
    ],
    "tables_count": 2,
    "always": [],
    "always_count": 0,
}
_APPLIED: dict[str, Any] = {
    "status": "success",
    "migration": "019",
    "message": "2 migrations executed successfully, 018 to 019",
    "action": "run-migration",
    "execution": EXECUTION,
    "database": "shop",
    "applied": [
        {"migration": "018", "file": "018_add_email_to_users.sql", "duration_ms": 41_320.5, "verified": []},
        {"migration": "019", "file": "019_create_orders.sql", "duration_ms": 112.0, "verified": []},
    ],
    "applied_count": 2,
    "already_applied": None,
    "verified": _TABLES,
    "warnings": [
        "018_add_email_to_users.sql:3:1: Building an index keeps writers of its table waiting. "
        "[require-concurrent-index-creation]"
    ],
    "duration_ms": 58_410.2,
}
_ROLLED_BACK: dict[str, Any] = {
    "status": "success",
    "migration": "018",
    "message": "Migrations 019, 018 rolled back successfully",
    "action": "rollback",
    "rolled_back": [
        {"migration": "019", "file": "019_create_orders.sql", "duration_ms": 35.1},
        {"migration": "018", "file": "018_add_email_to_users.sql", "duration_ms": 210.4},
    ],
    "rolled_back_count": 2,
    "verified": {"tables": [{"table": "orders", "exists": False}], "tables_count": 1},
    "warnings": [],
}
ANSWERS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, str]]] = {
    "success": (_APPLIED, DEPLOYED),
    "success-of-a-rollback": (_ROLLED_BACK, {**TYPED, "action": "rollback"}),
}
