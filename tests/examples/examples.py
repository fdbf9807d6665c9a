"""An example of every error, with facts as the engine really has them; wherever it can be, made by the engine.

They are told of a shop whose deployment carries 018 and 019, in the environment prod.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast

from aurora_migrations.engine import errors
from aurora_migrations.engine.diagnostics.file_errors import hazards_refused
from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.expectations import Check
from aurora_migrations.engine.history import Applied, State
from aurora_migrations.engine.migrations import Folder, Migration, Package, Problem, invalid_files
from aurora_migrations.engine.plan import Edit, build_plan, find_target
from aurora_migrations.engine.postgres.session import Holder
from aurora_migrations.engine.script import Hazard
from aurora_migrations.engine.steps.execution import read_input
from aurora_migrations.engine.steps.settings import read_settings
from aurora_migrations.engine.steps.undo import Undone
from functions.database_secret import Login, read_login, with_login
from functions.undo import undone_error
from functions.workflow_mails import Failure
from tests.examples import sql

ENVIRONMENT, REGION, ACCOUNT = "prod", "eu-west-1", "111122223333"  # AWS's own example account
EXECUTION = "c0ffee00-5eed-4a11-8bad-f00d00000018"
ARN = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:aurora-migrations-prod:{EXECUTION}"
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!cluster-shop-AbCdEf"
HOST = "shop.cluster-abc.eu-west-1.rds.amazonaws.com"
DEPLOYED = {
    "trigger": "deploy",
    "requested_by": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/AuroraMigrationsRunnerStack-prod/7d2c1a90",
}
BY_HAND: dict[str, str] = {}
DAILY = {"action": "plan", "trigger": "daily"}
UNDOING = {
    "action": "rollback",
    "target": "017",
    "confirm": "019",
    "trigger": "cli",
    "requested_by": "ana@build-7",
}
TYPED = {"target": "018", "trigger": "cli", "requested_by": "ana@build-7"}
NAMES = ("016_create_users.sql", "017_create_dry_run_log_micro_agente.sql", sql.FILE, "019_create_orders.sql")
_APPLIED_AT = "2026-11-23T04:00:17Z"


@dataclass(frozen=True)
class Example:
    """An error, and in which step of an execution, which was asked for what, it was met.

    Attributes:
        case: tells it from the other examples of its class; empty for the first.
    """

    error: MigratorError
    step: str
    asked: Mapping[str, str] = field(default_factory=lambda: DEPLOYED)
    case: str = ""

    @property
    def name(self) -> str:
        """What its golden files are called."""
        return f"{self.error.name}-{self.case}" if self.case else self.error.name


def examples() -> list[Example]:
    """One of every class, some with more; made anew, as an error is changed on its way out."""
    return [*_input(), *_package(), *_secret(), *_connection(), *_contention(), *_history(), *_sql(), *_rest()]


def _input() -> list[Example]:
    def ask(data: Mapping[str, Any]) -> MigratorError:
        return _raised(lambda: read_input(data, EXECUTION, ("run-migration", "list-migrations", "plan", "verify")))

    hazard = Hazard(
        "adding-not-nullable-field",
        sql.FILE,
        1,
        1,
        "Setting a column to NOT NULL reads the whole table while nobody can read or write it.",
        "Add a CHECK constraint NOT VALID, validate it in a later file, then set NOT NULL.",
    )
    excerpt = f"ALTER TABLE users ADD COLUM email text;\n{' ' * 28}^"
    problem = Problem(sql.FILE, 'syntax error at or near "email"', 2, 29, excerpt)
    return [
        Example(_raised(lambda: find_target(_folder(NAMES), "081")), "preflight", {**TYPED, "target": "081"}),
        Example(invalid_files([problem]), "preflight"),
        Example(hazards_refused([hazard]), "preflight"),
        Example(ask({"action": "rollback", "target": "018"}), "preflight", {**TYPED, "action": "rollback"}),
    ]


def _package() -> list[Example]:
    manifest = errors.InvalidManifest(f"{sql.FILE} was changed after the manifest had been written.", file=sql.FILE)
    package = errors.PackageChanged(
        "The package isn't the one that this execution began with: another was deployed meanwhile.",
        state="What this execution has applied so far stays applied.",
        began_with="5f1c0e2a",
        found="9b7d4410",
    )
    return [Example(manifest, "preflight"), Example(package, "apply")]


class _Client:
    """A client of Secrets Manager that answers with a text, or with an error as boto3 raises it."""

    def __init__(self, *, code: str = "", kind: str = "ClientError", text: str = "") -> None:
        self._code, self._kind, self._text = code, kind, text

    def get_secret_value(self, *, SecretId: str) -> Mapping[str, Any]:
        if self._text:
            return {"SecretString": self._text}
        error = type(self._kind, (Exception,), {})()
        if self._code:
            error.response = {"Error": {"Code": self._code}}
        raise error


def _login(client: _Client) -> Login:
    variables = {
        "ENVIRONMENT": ENVIRONMENT,
        "DATABASE_SECRET_ARN": SECRET,
        "ALLOWED_ACTIONS": "run-migration,plan",
        "DATABASE_HOST": HOST,
        "DATABASE_NAME": "shop",
        "DATABASE_SSLMODE": "require",
    }
    return read_login(client, read_settings(variables))


def _secret() -> list[Example]:
    clients = (
        _Client(code="ResourceNotFoundException"),
        _Client(code="AccessDeniedException"),
        _Client(text='{"username": "migrator"}'),
        _Client(kind="ConnectTimeoutError"),
    )
    return [Example(_raised(partial(_login, client)), "preflight") for client in clients]


def _connection() -> list[Example]:
    place = f"{HOST}:5432"
    timeout = errors.DatabaseUnreachable(
        f"{place} can't be reached: no connection within 5 s (connection timeout).",
        cause="A firewall or security group drops our packets.",
        step="TCP",
        host=HOST,
    )
    busy = errors.DatabaseBusy(f"{place} takes no connection now: sorry, too many clients already.", host=HOST)
    missing = errors.DatabaseNotFound(f'{place} refused: database "shopp" does not exist.', host=HOST, database="shopp")
    privilege = errors.InsufficientPrivilege(
        "The role migrator can't create the history: permission denied for database shop.",
        solution='As its owner: GRANT CREATE ON DATABASE "shop" TO "migrator"; or create the schema for it: '
        'CREATE SCHEMA aurora_migrations AUTHORIZATION "migrator";',
        user="migrator",
        **sql.left() | {"applied": [], "not_done": list(NAMES[1:]), "not_done_count": 3},
    )
    reader = errors.NotAWriter("The server is a standby (a reader): migrations need the writer.")
    return [
        Example(timeout, "preflight"),
        Example(timeout, "preflight", DAILY, "at-the-daily-check"),
        Example(busy, "preflight"),
        Example(sql.lost(), "apply"),
        Example(reader, "preflight"),
        Example(_refused(), "preflight"),
        Example(missing, "preflight"),
        Example(privilege, "apply"),
    ]


def _refused() -> MigratorError:
    """The login is refused, also after a fresh read of the secret."""
    login = _login(_Client(text='{"username": "migrator", "password": "-"}'))

    def use(_: Login) -> None:
        told = f'{HOST}:5432 refused the login: password authentication failed for user "migrator".'
        raise errors.AuthenticationFailed(told, host=HOST, user="migrator")

    return _raised(lambda: with_login(lambda: login, use, pause=0))


def _contention() -> list[Example]:
    holder = Holder(5120, "migrator", "aurora-migrations 7f3c-deploy", _APPLIED_AT)
    busy = errors.AnotherRunInProgress(
        f"Another run is in progress: the run lock is held by {holder}; waited 1min.",
        solution=f"{errors.AnotherRunInProgress.solution}\nTo end what it runs: `aurora-migrations cancel`. If its "
        "session stays: SELECT pg_terminate_backend(5120);",
        holder=holder._asdict(),
        holder_pid=5120,
        applied=[],
        not_done=[sql.FILE, sql.NEXT_FILE],
        not_done_count=2,
    )
    in_the_way = sql.locked()
    in_the_way.facts |= {"rolled_back": ["019"], "not_done": [sql.FILE], "not_done_count": 1}
    in_the_way.facts.pop("applied")
    return [
        Example(sql.locked(), "apply", TYPED),
        Example(in_the_way, "apply", {**UNDOING, "target": "018"}, "of-a-rollback"),
        Example(sql.deadlock(), "apply"),
        Example(busy, "apply", BY_HAND),
    ]


def _history() -> list[Example]:
    unreadable = errors.HistoryUnreadable(
        "The history has format 3; this version of aurora-migrations knows formats up to 2.",
        cause="A newer version of aurora-migrations has worked on this database.",
    )
    package = _folder(NAMES)
    applied = _applied(NAMES[:2])
    difference = (
        f"--- {NAMES[1]} (applied)\n+++ {NAMES[1]} (now)\n@@ -12 +12 @@\n-    mensagem text,\n+    mensagem jsonb,"
    )
    edit = Edit(package.migrations[1], True, difference)
    changed = _raised(lambda: build_plan(package, State(applied, {}), {17: edit}))
    missing = _raised(lambda: build_plan(_folder(NAMES[1:]), State(applied, {}), {}))
    late = _raised(lambda: build_plan(package, State(applied | _applied(NAMES[3:]), {}), {}))
    return [
        Example(changed, "preflight", DAILY),
        Example(missing, "preflight"),
        Example(late, "preflight"),
        Example(sql.in_doubt(), "apply"),
        Example(sql.interrupted(), "apply", case="of-an-interrupted-call"),
        Example(unreadable, "preflight"),
    ]


def _sql() -> list[Example]:
    return [
        Example(sql.failed(), "apply"),
        Example(sql.partly_in(), "apply", case="partly-in"),
        Example(sql.half_undone(), "apply", UNDOING, "of-a-rollback-half-way"),
        Example(sql.too_long(), "apply"),
        Example(sql.cancelled(), "apply", TYPED),
    ]


def _rest() -> list[Example]:
    internal = errors.InternalError(
        "An unexpected KeyError, raised in aurora_migrations/engine/plan.py:71 build_plan.",
        kind="KeyError",
        frames=["aurora_migrations/engine/plan.py:71 build_plan"],
    )
    unfit = sql.unfit_index()
    caught = Failure(unfit.name, unfit.message, "verify", facts=unfit.to_dict())
    left = Check("column public.users.email", "not there", "there", False)
    return [
        Example(sql.broken_promise(), "apply"),
        Example(unfit, "verify", case="after-the-commit"),
        Example(undone_error(Undone(("018",)), caught), "apply", case="and-rolled-back"),
        Example(undone_error(Undone(("018",), (left,)), caught), "apply", case="and-not-as-before"),
        Example(internal, "preflight", BY_HAND),
    ]


def _folder(names: Sequence[str]) -> Package:
    """A package with these files; nothing reads them."""
    folder = Folder(cast(Path, PurePosixPath("migrations")), {name: name for name in names})
    return Package(folder.path, tuple(Migration(int(name[:3]), name[:3], name, None, None, folder) for name in names))


def _applied(names: Sequence[str]) -> dict[int, Applied]:
    return {int(name[:3]): Applied(int(name[:3]), name, "", _APPLIED_AT, "earlier") for name in names}


def _raised(work: Callable[[], object]) -> MigratorError:
    """The error that something raises."""
    try:
        work()
    except MigratorError as error:
        return error
    raise AssertionError("It raises nothing.")
