"""Opens a connection from a URL. Errors name the step that failed: name, network, TLS, server, login."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from aurora_migrations.engine.errors import (
    AuthenticationFailed,
    DatabaseBusy,
    DatabaseNotFound,
    DatabaseUnreachable,
    InsufficientPrivilege,
    InvalidInput,
    MigratorError,
    NotAWriter,
)
from aurora_migrations.engine.options import SSLMODES
from aurora_migrations.engine.postgres.protocol import Connection

_PARAMETER = (
    "A parameter after the question mark (sslmode, connect_timeout ...) is unknown, or has a value it can't have."
)
CONNECT_TIMEOUT = 5  # seconds for each of: finding the address, opening the connection

# How we notice, within half a minute, that the server has vanished from the network; the URL may override this. Linux
# uses the user timeout where there is one and no longer counts keepalives, so both make 25 s.
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}

# Startup settings, because RESET ALL goes back to these. A session whose client has vanished from the network is ended
# within 3.5 to 4.1 s: by the keepalives while it waits or works, by the user timeout once an answer is on its way (then
# counted from the answer, which may come late in the silence: 7 s). On Linux the user timeout also takes the place of
# the keepalives' count, so it must not be longer than they would take. It ends one whose client takes no answers, too.
# The idle limit ends one whose process was frozen with a transaction open.
STARTUP_SETTINGS = {
    "lock_timeout": "2000",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "60000",
    "tcp_keepalives_idle": "1",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "3500",
}


def pooler_found() -> InvalidInput:
    """The error for an address at which the session isn't ours alone."""
    return InvalidInput(
        "The address is a connection pooler, which hands a session's locks and settings to others.",
        cause="The server at this address refuses startup settings, or isn't the server that runs our statements.",
        solution="Use the address of the database itself: for Aurora, the cluster's writer endpoint.",
    )


def open_connection(url: str, application: str) -> Connection:
    """Opens an autocommit connection set up for migrations. Raises InvalidInput if the URL can't be understood or leads
    to a connection pooler, else an error of the family connection."""
    params = parse_url(url)
    params = params if "service" in params else {**_from_environment(), **params}
    host, port = str(params.get("host") or ""), str(params.get("port") or "5432")
    params = {"connect_timeout": CONNECT_TIMEOUT, **KEEPALIVES, **params}
    if host and not params.get("hostaddr") and not re.search(r"[/,@]", host):
        params |= _addresses(host, port, int(params["connect_timeout"]))
    settings = " ".join(f"-c {name}={value}" for name, value in STARTUP_SETTINGS.items())
    params["options"] = f"{params.get('options') or ''} {settings}".strip()
    params |= {"application_name": application, "client_encoding": "UTF8"}
    conninfo = make_conninfo("", **params)
    started = time.monotonic()
    try:
        return psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        params["elapsed"] = time.monotonic() - started
        raise _why_not_connected(str(error), host, port, params) from error


def parse_url(url: str) -> dict[str, Any]:
    """The parts of a connection URL. Its text, which holds a password, is in no error."""
    url = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url.strip())  # as SQLAlchemy writes it: with its driver
    if not re.match(r"postgres(ql)?://|\w+\s*=", url):
        raise _no_url("It doesn't begin with postgresql://.")
    try:
        params: dict[str, Any] = dict(conninfo_to_dict(url))
    except (psycopg.Error, UnicodeError) as error:
        unknown = "parameter" in str(error) or "option" in str(error)
        raise _no_url(_PARAMETER if unknown else "It isn't in URL form.") from error
    if any("@" in str(params.get(part) or "") for part in ("host", "port", "dbname")):
        raise _no_url("There is an @ too many in it, or a / before it.")
    ports = str(params.get("port") or "5432").split(",")
    if not all(re.fullmatch("[0-9]{0,5}", port) and int(port or 1) in range(1, 65_536) for port in ports):
        raise _no_url("The port isn't a number from 1 to 65535, or a / in the password ends the address too early.")
    if str(params.get("sslmode") or "prefer") not in SSLMODES or not str(params.get("connect_timeout", 0)).isdecimal():
        raise _no_url(_PARAMETER)
    return params


def _from_environment() -> dict[str, str]:
    """What libpq would take from its environment variables, for messages and for our own look-up of the host. A service
    file may say otherwise, so with one libpq is left to itself."""
    if "PGSERVICE" in os.environ:
        return {}
    variables = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
    return {name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)}


def _no_url(cause: str) -> InvalidInput:
    hint = "Write postgresql://USER:PASSWORD@HOST:5432/DATABASE, with %40 for an @ and %2F for a / in the password."
    return InvalidInput("The database URL can't be understood.", cause=cause, solution=hint)


def _addresses(host: str, port: str, timeout: int) -> dict[str, str | int]:
    """Resolves a host name for libpq, which would do it without a time limit."""
    found, reason = list[str](), f"no answer within {CONNECT_TIMEOUT} s"

    def look_up() -> None:
        nonlocal reason
        try:
            name = host.encode() if host.isascii() else host  # for a str, Python loads its tables of IDNA
            answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(answer[4][0]) for answer in answers))
        except OSError as error:
            reason = error.strerror or str(error)
        except UnicodeError:
            reason = "not a host name"

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT)
    if not found:
        raise DatabaseUnreachable(
            f"The host name {host} doesn't resolve: {reason}.",
            cause="The host name is misspelt, or its private DNS zone isn't visible from here.",
            solution="Check the name; for Aurora it is the cluster's writer endpoint, known only inside its VPC's DNS.",
            step="DNS",
            host=host,
        )
    tried = found[:2]
    return {
        "host": ",".join([host] * len(tried)),
        "hostaddr": ",".join(tried),
        "port": port,
        "connect_timeout": max(2, timeout // len(tried)),
    }


def _why_not_connected(text: str, host: str, port: str, params: dict[str, Any]) -> MigratorError:
    """The named error for libpq's message. Before login there is no SQLSTATE, only the message."""

    def matches(*patterns: str) -> bool:
        return any(re.search(pattern, text) for pattern in patterns)

    message, place = _server_message(text), _place(host, port)
    user, database = params.get("user"), params.get("dbname")
    login = "authentication failed|pg_hba.conf|no password supplied|is not permitted to log in"
    if matches(login, 'role ".*" does not exist|PAM authentication'):
        return AuthenticationFailed(f"{place} refused the login: {message}.", host=host, user=user)
    if matches('database ".*" does not exist'):
        return DatabaseNotFound(f"{place} refused: {message}.", host=host, database=database)
    if matches("permission denied for database"):
        grant = f'As its owner: GRANT CONNECT ON DATABASE "{database}" TO "{user}";'
        return InsufficientPrivilege(f"{place} refused: {message}.", solution=grant, user=user)
    if matches("is not currently accepting connections"):
        return DatabaseBusy(
            f"{place} takes no connection now: {message}.",
            cause="Somebody has closed this database to all connections.",
            solution=f'Ask who did it; they open it by ALTER DATABASE "{database}" ALLOW_CONNECTIONS true;',
            host=host,
        )
    busy = "too many (?:clients|connections)|remaining connection slots|starting up|shutting down"
    if matches(busy, "recovery mode|not (?:yet )?accepting connections"):
        return DatabaseBusy(f"{place} takes no connection now: {message}.", host=host)
    if matches("session is read-only|server is in hot standby mode"):
        return NotAWriter(f"{place} is a standby (a reader), and the URL demands a writer.", host=host)
    if matches("received invalid response to SSL negotiation"):
        return _unreachable(message, host, port, params)
    if matches("unsupported startup parameter"):
        return pooler_found()
    if matches("invalid .* value|bad value for|invalid connection option|invalid integer"):
        return _no_url(_PARAMETER)
    if matches("SSL|certificate|TLS"):
        return DatabaseUnreachable(
            f"{place} answers, but a secure connection failed: {message.rpartition('failed: ')[2]}.",
            cause="The server's certificate doesn't fit the host name or the given root, or one side allows no TLS.",
            solution="Check sslmode and sslrootcert (in the URL; on AWS the setting `database.sslmode`), and that the "
            "host name is the one in the certificate.",
            step="TLS",
            host=host,
        )
    return _unreachable(text, host, port, params)


def _server_message(text: str) -> str:
    """The server's message, in one line, without the full stop, DETAIL and HINT."""
    message = re.split(r"(?:FATAL|ERROR):\s+", text)[-1]
    return re.sub(r"\s+", " ", re.split(r"\n(?:DETAIL|HINT|CONTEXT):", message)[0]).strip().rstrip(".")


def _unreachable(text: str, host: str, port: str, params: dict[str, Any]) -> MigratorError:
    place = _place(host, port)
    if re.search(r"(?:FATAL|ERROR):", text):
        return DatabaseUnreachable(
            f"{place} refused the connection: {_server_message(text)}.",
            cause="The server doesn't support a parameter of the address, or is set up to refuse us: see above.",
            solution="Correct the address and the parameters after its question mark, or the server's settings.",
            step="startup",
            host=host,
        )
    opens = False
    with contextlib.suppress(OSError, ValueError):
        address = str(params.get("hostaddr") or host).split(",")[0], int(port.split(",")[0])
        socket.create_connection(address, timeout=1).close()
        opens = True
    if opens:
        return DatabaseUnreachable(
            f"{place} takes connections but doesn't answer as PostgreSQL does.",
            cause="Something else listens on this port, or the server doesn't respond.",
            solution="Check host and port, and that the server is healthy.",
            step="startup",
            host=host,
        )
    timeout = float(params["connect_timeout"])
    if "refused" in text:
        how, cause = "the connection was refused", "Nothing listens on this port."
    elif params["elapsed"] < min(2.0, timeout) - 0.1:
        # The last reason that libpq passes on from the system; after it may come a question of its own.
        reasons = re.findall(r"failed: (.+)", text)
        how = reasons[-1].strip() if reasons else " ".join(text.split())
        cause = "There is no route to this address from here."
    else:
        how = f"no connection within {timeout:.0f} s (connection timeout)"
        cause = "A firewall or security group drops our packets."
    return DatabaseUnreachable(f"{place} can't be reached: {how}.", cause=cause, step="TCP", host=host)


def _place(host: str, port: str) -> str:
    return f"{f'[{host}]' if ':' in host else host or 'the local server'}:{port}"
