"""What scenes are played with, each anew: a folder of two migrations, an empty database, an account, a command line."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError

from aurora_migrations.engine import MigratorError
from functions import entrypoint
from functions.database_secret import secrets_client
from functions.entrypoint import Deployment
from tests.cli.cloud import Cloud, answering, caused
from tests.cli.conftest import Answer, Call, account
from tests.database.helpers import Task, backend
from tests.database.replayed import Replayed
from tests.functions.helpers import STEPS, Context, Machine
from tests.proxy import Proxy
from tests.servers import Database, Migrations, Roles


class Secrets:
    """Secrets Manager that only fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:
        raise self._error


class Typist:
    """Somebody at the keyboard, who types one line."""

    def __init__(self, line: str) -> None:
        self._line = line

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return f"{self._line}\n"


def refusal(code: str, message: str, operation: str = "GetCallerIdentity") -> ClientError:
    """AWS refuses."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@dataclass
class Stage:
    """What a scene is played with.

    Attributes:
        closing: what is done when the scene is over.
        typed: the command that was called last.
        standby: a standby of the database's server, where somebody asks for one.
    """

    caller: Call
    two: Migrations
    database: Database
    roles: Roles
    patch: pytest.MonkeyPatch
    closing: ExitStack
    standby: Callable[[], Database]
    typed: str = field(default="", init=False)

    # ---- the command line ----

    def call(self, *words: str) -> Answer:
        """Calls the command line in this process."""
        self.typed = shlex.join(["aurora-migrations", *words])
        return self.caller(*words)

    def on(self, *words: str, url: str | None = None) -> Answer:
        """Calls a verb on the database."""
        return self.call(*words, "--database-url", url or self.database.url)

    def beside(self, act: Callable[[], object], *words: str, url: str | None = None) -> Answer:
        """The same, while somebody else does something."""
        other = Task(act)
        answer = self.on(*words, url=url)
        other.result()
        return answer

    def types(self, line: str) -> Stage:
        """Somebody is at the keyboard."""
        self.patch.setattr("sys.stdin", Typist(line))
        return self

    # ---- files ----

    def write(self, **texts: str | None) -> Stage:
        """Files by name, `f003_c` for 003_c.sql and `f003_c_down` for 003_c.down.sql; None takes one away."""
        for name, text in texts.items():
            stem = name.removeprefix("f").replace("_down", ".down").replace("_verify", ".verify")
            path = self.two.dir / f"{stem}.sql"
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_bytes(text.encode())
        return self

    def replayed(self) -> Stage:
        """Builds the package of the files, with what a replay shows."""
        Replayed(self.two, self.database).write_manifest()
        return self

    def ran(self, *words: str) -> Stage:
        """After a run that went well."""
        answer = self.on("run", *words)
        assert answer.code == 0, answer.err
        return self

    def failed(self, *words: str) -> Stage:
        """After a command that failed."""
        answer = self.on(*(words or ("run",)))
        assert answer.code == 1, answer
        return self

    # ---- the database ----

    def sql(self, statements: str) -> Stage:
        """Somebody changes the database."""
        self.database.execute(statements)
        return self

    def enter(self, context: contextlib.AbstractContextManager[Any]) -> Any:
        """Something that is so until the scene is over."""
        return self.closing.enter_context(context)

    @cached_property
    def proxy(self) -> Proxy:
        """Between the command line and the database."""
        proxy: Proxy = self.enter(Proxy(self.database.server.port))
        return proxy

    @property
    def by_proxy(self) -> str:
        """The database's URL by way of the proxy."""
        return self.proxy.url(self.database.url)

    def cut(self, needle: str, *words: str) -> Answer:
        """A command whose connection breaks when it sends this, and which doesn't wait for another one."""
        self.proxy.cut_before(needle.encode())
        return self.on(*(words or ("run", "--lock-wait", "0s")), url=self.by_proxy)

    def end(self, doing: str, how: str = "pg_terminate_backend") -> Callable[[], object]:
        """Ends the session that is doing this."""
        return lambda: self.database.query(f"SELECT {how}(%s)", (backend(self.database, doing),))

    # ---- an account ----

    @cached_property
    def cloud(self) -> Cloud:
        """Nothing is in it yet."""
        made: Cloud = self.enter(account(self.patch))
        return made

    def env(self, *words: str) -> Answer:
        """Calls a verb on the environment."""
        _ = self.cloud
        return self.call(*words, "--env", "dev")

    def aws(self, operation: str, error: Exception, *words: str) -> Answer:
        """With an operation of AWS that fails."""
        _, real = self.cloud, botocore.client.BaseClient._make_api_call

        def call(client: Any, name: str, parameters: Any) -> Any:
            if name == operation:
                raise error
            return real(client, name, parameters)

        self.patch.setattr(botocore.client.BaseClient, "_make_api_call", call)
        return self.env(*(words or ("list",)))

    def machine_ends(self, error: str, cause: str, *words: str) -> Answer:
        """The state machine ends so, and a command tells it."""
        self.cloud.deploy_bare(answering({"run-migration": (error, cause)}))
        return self.env(*(words or ("run",)))

    # ---- the functions ----

    @cached_property
    def machine(self) -> Machine:
        """The functions, with a secret and a manifest, as the state machine calls them."""
        _ = self.cloud
        made = Machine(secrets_client(), self.database, self.two)
        made.write_manifest()
        return made

    def told(self, document: dict[str, Any]) -> Answer:
        """An error that a function raised, as the state machine ends with it and `run --env` tells it."""
        return self.machine_ends(str(document["error"]), caused(document))

    def refused(self, kind: type[MigratorError], asked: Any = None, *, step: str = "preflight", **more: Any) -> Answer:
        """What the real function preflight, or another, refuses."""
        if "secrets" in more:
            more["deployment"] = Deployment(self.machine.settings, more.pop("secrets"))
        return self.told(self.machine.refused(step, kind, asked, **more))

    def variable(self, **variables: str) -> Answer:
        """What preflight refuses where its environment has these variables; empty ones count as missing."""
        _ = self.machine
        for name, value in {**self.machine.variables, **variables}.items():
            self.patch.setenv(name, value)
        entrypoint._deployed.cache_clear()
        self.closing.callback(entrypoint._deployed.cache_clear)
        event = {"execution": "run-1", "execution_arn": "", "started_at": "", "input": {}}
        with pytest.raises(MigratorError) as caught:
            STEPS["preflight"](event, Context())
        return self.told(json.loads(str(caught.value)))


@dataclass
class Theatre:
    """Makes stages."""

    caller: Call
    folder: Migrations
    roles: Roles
    standby: Callable[[], Database]

    @contextlib.contextmanager
    def stage(self) -> Iterator[Stage]:
        """A new one; nothing is left of it afterwards."""
        self._two_files()
        database = Database(self.roles.server)
        database.create()
        with ExitStack() as last:
            last.callback(database.drop)
            with ExitStack() as closing, pytest.MonkeyPatch.context() as patch:
                yield Stage(self.caller, self.folder, database, self.roles, patch, closing, self.standby)

    def _two_files(self) -> None:
        for path in self.folder.dir.parent.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.folder.dir.mkdir()
        for name, table in (("001_users", "users"), ("002_orders", "orders")):
            self.folder.write(f"{name}.sql", f"CREATE TABLE {table} (id integer);\n")
            self.folder.write(f"{name}.down.sql", f"DROP TABLE {table};\n")
