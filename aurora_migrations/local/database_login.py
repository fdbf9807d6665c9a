"""The database that a local cloud migrates: the parts of its URL that the functions' secret and settings can hold."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from aurora_migrations import project
from aurora_migrations.cdk.package import CERTIFICATES
from aurora_migrations.engine.errors import InvalidInput
from aurora_migrations.engine.postgres.connect import open_connection, parse_url

_SUPPORTED = ("host", "port", "dbname", "user", "password", "sslmode")
_UNDECIDED = ("allow", "prefer")  # libpq's modes that leave it to the server; an environment's settings decide
_ROOTS = project.CERTIFICATES / CERTIFICATES  # the root certificates that the functions trust
_WRITE = "Write postgresql://USER:PASSWORD@HOST:5432/DATABASE"


@dataclass(frozen=True)
class Login:
    """Where the database is, and the user to log in as. The password is shown nowhere; `sslmode` is libpq's."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str

    @property
    def secret(self) -> str:
        """As Amazon RDS keeps it in Secrets Manager."""
        names = {"username": self.user, "password": self.password, "host": self.host, "port": self.port}
        return json.dumps({**names, "dbname": self.database, "engine": "postgres"})

    @property
    def url(self) -> str:
        return self._url(f":{quote(self.password, safe='')}")

    @property
    def redacted_url(self) -> str:
        return self._url(":***" if self.password else "")

    @property
    def deployed_sslmode(self) -> str:
        """The sslmode of the environment's settings: no TLS where the URL leaves it to the server."""
        return "disable" if self.sslmode in _UNDECIDED else self.sslmode

    def _url(self, password: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user, database = quote(self.user, safe=""), quote(self.database, safe="")
        return f"postgresql://{user}{password}@{host}:{self.port}/{database}?sslmode={self.sslmode}"


def read_login(url: str, variables: Mapping[str, str]) -> Login:
    """The login in a database's URL. PGPASSWORD of the variables is the password where the URL has none.

    Raises:
        InvalidInput: it isn't a URL, or has a part that the functions don't support. Never repeats any of it that
            could be a password.
    """
    said = {name: str(value) for name, value in parse_url(url).items() if value not in (None, "")}
    others = sorted(set(said) - set(_SUPPORTED))
    if others:
        raise InvalidInput(
            f"The database URL has parameters that the functions don't support: {', '.join(others)}.",
            cause="On AWS, a function is given only the host, port, name, user, password and sslmode.",
            solution=f"Remove them. {_WRITE}?sslmode=MODE.",
        )
    host, user, port = said.get("host", ""), said.get("user"), said.get("port", "5432")
    if not host or host.startswith(("/", "@")):
        raise InvalidInput(
            "The database URL leads to a socket of this machine." if host else "The database URL names no host.",
            cause="The functions connect over TCP, to one host and port.",
            solution=f"{_WRITE}, with localhost as the host for a server of this machine.",
        )
    if "," in host or "," in port:
        raise InvalidInput(
            "The database URL names several hosts.",
            cause="The functions connect to one host and port; on AWS it is the cluster's writer endpoint.",
            solution=f"Keep the one that accepts writes. {_WRITE}.",
        )
    if not user:
        cause = "The functions' secret must hold one."
        raise InvalidInput("The database URL names no user.", cause=cause, solution=f"{_WRITE}.")
    password = said.get("password") or variables.get("PGPASSWORD")
    if not password:
        raise InvalidInput(
            "The database URL has no password, and PGPASSWORD isn't set.",
            cause="The functions read the login from a secret, which must hold one.",
            solution="Set PGPASSWORD. Where the server needs none (trust), any text will do.",
        )
    return Login(host, int(port), said.get("dbname", user), user, password, said.get("sslmode", "prefer"))


def verify_login(login: Login) -> Login:
    """The same login, after one connection with it. Where the URL leaves it to the server, TLS is used if it has it.

    Raises:
        MigratorError: it can't connect; the error is the one that the functions would report.
    """
    roots = f"&sslrootcert={quote(str(_ROOTS), safe='')}" if login.sslmode.startswith("verify") else ""
    with open_connection(login.url + roots, "aurora-migrations up") as connection:
        if login.sslmode not in _UNDECIDED:
            return login
        return dataclasses.replace(login, sslmode="require" if connection.pgconn.ssl_in_use else "disable")
