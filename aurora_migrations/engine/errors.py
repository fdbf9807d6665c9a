"""Every way a run can fail, as classes whose names are the product's vocabulary.

    MigratorError
    ├── input        InvalidInput · InvalidFile · HazardRefused · ActionNotAllowed
    ├── package      PackageChanged · InvalidManifest
    ├── secret       SecretNotFound · SecretAccessDenied · SecretMalformed · SecretsUnreachable
    ├── connection   DatabaseUnreachable · DatabaseBusy · ConnectionLost · NotAWriter
    │                AuthenticationFailed · DatabaseNotFound · InsufficientPrivilege
    ├── contention   LockTimeout · Deadlock · AnotherRunInProgress
    ├── history      MigrationChanged · MigrationMissing · OutOfOrder · InDoubt · HistoryUnreadable
    ├── sql          MigrationFailed · StatementTimeout · Cancelled
    ├── verify       VerificationFailed
    └── internal     InternalError

An error has a message, facts (place, SQLSTATE, blockers), a cause (`cause`), the state in which it leaves the database
(`state`), what to do (`solution`) and what to type next (`next_command`). `headline` is the error in a few words, for
the subject of a mail. `retryable` marks transient faults; `by_deployment` those whose remedy is a changed file or
setting, which needs a deployment on AWS; `otherwise` names, for those, what else may have been corrected, after which a
run is enough.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Self

PROGRAM = "aurora-migrations"
_DONE = (("applied", "Applied by this run"), ("rolled_back", "Rolled back by this run"))


class NextCommand(NamedTuple):
    """A command to type next. It is data, because each place shows it with what it needs there: a terminal with the
    options of the command that failed, a mail with the environment."""

    verb: str
    arguments: tuple[str, ...] = ()  # as they are typed, quoted where a shell needs it
    program: str = PROGRAM  # whose command it is, if not the product's own

    @classmethod
    def parse(cls, text: str) -> NextCommand:
        """The command that was written like this."""
        program, verb, *arguments = text.split()
        return cls(verb, tuple(arguments), program)

    def plus(self, *arguments: str) -> NextCommand:
        """The command with more arguments."""
        return self._replace(arguments=(*self.arguments, *arguments))

    def __str__(self) -> str:
        return " ".join([self.program, self.verb, *self.arguments])


TRY_AGAIN = NextCommand("run")  # or whatever it was that failed; only the place that shows the error knows


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class MigratorError(Exception):
    """Base of all errors of the product. An error isn't changed once it is made; see `but`.

    Args:
        message: what happened, in one sentence, without row values or secrets.
        cause, solution, state, next_command, by_deployment: where this occurrence knows better than its class. Each
            line of a solution is a step.
        about: an object for callers that goes into no result: a LockTimeout's wait, an InvalidFile's problems.
        facts: JSON-able values (file, line, sqlstate ...) that go into results, logs and mails as they are.
    """

    family: ClassVar[str] = ""
    retryable: ClassVar[bool] = False
    by_deployment: bool = False
    otherwise: ClassVar[str] = ""
    headline: ClassVar[str] = ""
    next_command: NextCommand = TRY_AGAIN
    cause: str = ""
    solution: str = ""
    state: str = "Nothing was changed."

    def __init__(
        self,
        message: str,
        *,
        cause: str | None = None,
        solution: str | None = None,
        state: str | None = None,
        next_command: NextCommand | None = None,
        by_deployment: bool | None = None,
        about: Any = None,
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        own = {"cause": cause, "solution": solution, "state": state, "next_command": next_command}
        vars(self).update(_given(**own, by_deployment=by_deployment))
        self.about = about
        self.facts = _given(**facts)

    def but(
        self,
        *,
        message: str | None = None,
        cause: str | None = None,
        solution: str | None = None,
        state: str | None = None,
        next_command: NextCommand | None = None,
        **facts: Any,
    ) -> Self:
        """The same error, with what only a caller knows: for instance what else the run had done, or where it ran."""
        made = type(self).__new__(type(self))
        vars(made).update(vars(self), facts={**self.facts, **facts})
        own = {"cause": cause, "solution": solution, "state": state, "next_command": next_command}
        vars(made).update(_given(**own, message=message))
        made.args = (made.message,)
        return made

    @property
    def name(self) -> str:
        """The word that the workflow, the logs and the history use for this error."""
        return type(self).__name__

    @property
    def whole_state(self) -> str:
        """The state, and with it what the run had done before it failed."""
        done = self.done
        return f"{self.state.replace(MigratorError.state, 'Nothing else was changed.')} {done}" if done else self.state

    @property
    def done(self) -> str:
        """What the run had done before it failed; empty if nothing."""
        for fact, words in _DONE:
            done = self.facts.get(fact)
            if isinstance(done, list) and done:
                return f"{words}: {', '.join(map(str, done))}."
        return ""

    def to_dict(self) -> dict[str, object]:
        """The error as JSON-able data."""
        return {
            "error": self.name,
            "message": self.message,
            "cause": self.cause,
            "state": self.state,
            "solution": " ".join(self.solution.splitlines()),
            "next_command": str(self.next_command),
            **self.facts,
        }


class InvalidInput(MigratorError):
    """The request can't be carried out as it is."""

    family = "input"
    headline = "the request is invalid"
    next_command = NextCommand("list")
    cause = "The request doesn't match the migrations or the database."
    solution = "Correct the request."


class InvalidFile(MigratorError):
    """Misnamed, unreadable or invalid files in the migrations folder. Lists all of them."""

    family = "input"
    headline = "a migration file is invalid"
    by_deployment = True
    cause = "The migrations folder contains invalid files."
    solution = "Correct the files listed here."

    @property
    def problems(self) -> tuple[Any, ...]:
        """Each problem (`aurora_migrations.engine.migrations.Problem`)."""
        return self.about or ()


class HazardRefused(MigratorError):
    """Risky statements, in an environment that refuses them; the fact `hazards` lists them."""

    family = "input"
    headline = "a risky statement was refused"
    by_deployment = True
    next_command = NextCommand("check")
    cause = "Risky statements that the file doesn't allow are refused here (--hazards; on AWS the setting `hazards`)."
    solution = "Rewrite the statement as shown, or allow it in the file: `-- migration: allow = RULE because REASON`."


class ActionNotAllowed(MigratorError):
    """The environment doesn't allow the action; the fact `allowed` lists the allowed ones."""

    family = "input"
    headline = "the action is not allowed"
    by_deployment = True
    next_command = NextCommand("list")
    cause = "The environment doesn't allow the action."
    solution = "Use an environment that allows it, or add it to the setting `allowed_actions`."


class InvalidManifest(MigratorError):
    """The manifest is missing, damaged, in another format, or doesn't match the files beside it."""

    family = "package"
    headline = "the manifest does not match the files"
    by_deployment = True
    next_command = NextCommand("check", ("--write-manifest",))
    cause = "The folder was changed after its manifest was written, or another version wrote the manifest."
    solution = (
        "Write the manifest again: `aurora-migrations check --write-manifest`. Or delete manifest.json: a build for "
        "AWS writes its own."
    )


class PackageChanged(MigratorError):
    """The files differ from those that the run started with."""

    family = "package"
    headline = "the files changed during the run"
    cause = "The folder was changed, or another version was deployed, during the run."
    solution = "Run again, with the files as they are now."


class SecretNotFound(MigratorError):
    """Secrets Manager has no such secret, or no current value of it."""

    family = "secret"
    headline = "the database secret was not found"
    by_deployment = True
    otherwise = "the secret was restored"
    cause = "The secret's ARN is wrong, or the secret was deleted or belongs to another account or region."
    solution = "Correct the ARN in the settings, or restore the secret."


class SecretAccessDenied(MigratorError):
    """The function may not read the secret, or may not use the key that it is encrypted with."""

    family = "secret"
    headline = "access to the database secret is denied"
    cause = "The role of the function, or the policy of the secret or the VPC endpoint, doesn't allow reading it."
    solution = (
        "Grant secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its key if that is customer managed. "
        "Check that the ARN in the settings is complete: it ends in a hyphen and six characters."
    )


class SecretMalformed(MigratorError):
    """The secret isn't one of a PostgreSQL database, or contradicts the settings. Its values are never shown."""

    family = "secret"
    headline = "the database secret is incomplete"
    cause = "The secret belongs to another database or product, or was written by hand."
    solution = (
        "Write the secret as Amazon RDS does: JSON with username and password, and optionally host, port and dbname."
    )


class SecretsUnreachable(MigratorError):
    """Secrets Manager didn't answer in time, or is unavailable."""

    family = "secret"
    headline = "Secrets Manager is unreachable"
    retryable = True
    cause = "The function's subnets have no route to Secrets Manager: no VPC endpoint, or port 443 is closed."
    solution = "Check the VPC endpoint for Secrets Manager, its security group's rule for port 443, and its DNS name."


class DatabaseUnreachable(MigratorError):
    """No connection; the fact `step` is where it failed: DNS, TCP, TLS or startup."""

    family = "connection"
    headline = "the database is unreachable"
    retryable = True
    cause = "The database's address is wrong, or the network blocks the connection."
    solution = "Check host, port, the security group's rule for the port, and that the database is running."


class DatabaseBusy(MigratorError):
    """The server is running but accepts no connections now."""

    family = "connection"
    headline = "the database accepts no connections"
    retryable = True
    cause = "All connections are in use, or the server is starting up or shutting down."
    solution = "Wait, then run again. If it persists, see who holds the connections (pg_stat_activity)."


class ConnectionLost(MigratorError):
    """The connection was lost during a run."""

    family = "connection"
    headline = "the connection was lost"
    retryable = True
    cause = "The server was restarted or failed over, an administrator ended the session, or the network broke."
    solution = "Run again: the new run continues after the last applied migration."


class NotAWriter(MigratorError):
    """The server is a standby (a reader), or became one."""

    family = "connection"
    headline = "connected to a reader"
    retryable = True
    next_command = NextCommand("status")
    cause = "The address leads to a reader, or a failover has just happened."
    solution = "Use the cluster's writer endpoint; after a failover, run again."


class AuthenticationFailed(MigratorError):
    """The server refused the user or the password."""

    family = "connection"
    headline = "the database refused the login"
    cause = "User or password is wrong, or pg_hba.conf doesn't allow this user to connect from here."
    solution = (
        "Check user and password: on AWS in the secret, otherwise in the URL, where @ and / in a password are %40 and "
        "%2F."
    )


class DatabaseNotFound(MigratorError):
    """The server has no database with that name."""

    family = "connection"
    headline = "the database does not exist"
    by_deployment = True
    otherwise = "the database was created"
    cause = "The database's name is wrong, or the database hasn't been created yet."
    solution = "Check the name (the setting `database.name`, or the end of the URL), or create the database."


class InsufficientPrivilege(MigratorError):
    """The role lacks a privilege that the runner itself needs (for a file's own statement: MigrationFailed)."""

    family = "connection"
    headline = "the database role lacks a privilege"
    cause = "The database role lacks a privilege that the runner needs for its history."
    solution = "Grant it to the role, or connect as another role."


class LockTimeout(MigratorError):
    """A statement waited too long for a lock that another session holds; the fact `blockers` lists them."""

    family = "contention"
    headline = "another session holds a lock"
    retryable = True
    cause = "Another session holds a lock that the statement needs."
    solution = "Run again when that session has ended, or end it."

    @property
    def wait(self) -> Any:
        """What it waited for (`aurora_migrations.engine.locks.blockers.LockWait`), where that was seen."""
        return self.about


class Deadlock(MigratorError):
    """PostgreSQL resolved a deadlock by aborting our transaction."""

    family = "contention"
    headline = "deadlock"
    retryable = True
    cause = "The file and another session took the same locks in a different order."
    solution = "Run again; if it happens often, at a quieter time."


class AnotherRunInProgress(MigratorError):
    """Another session held the run lock for as long as this run could wait."""

    family = "contention"
    headline = "another run is in progress"
    retryable = True
    next_command = NextCommand("status")
    cause = "Only one run can work on a database at a time."
    solution = "Run again when it has ended, or let this run wait longer (--wait; on AWS the setting `lock_wait`)."


class MigrationChanged(MigratorError):
    """A file differs from the one that was applied."""

    family = "history"
    headline = "changed after it was applied"
    by_deployment = True
    next_command = NextCommand("status")
    cause = "The file was edited after it was applied to this database."
    solution = "Restore the file, and write the change as a new migration."


class MigrationMissing(MigratorError):
    """The history has a version below the newest one that the folder lacks."""

    family = "history"
    headline = "applied, but its file is missing"
    by_deployment = True
    next_command = NextCommand("status")
    cause = "A file that was applied to this database is missing from the folder."
    solution = (
        "Restore the file (from version control, or from aurora_migrations.applied, column sql), or check that this is "
        "the right folder."
    )


class OutOfOrder(MigratorError):
    """A pending file has a lower version than an applied one."""

    family = "history"
    headline = "its number is too low"
    by_deployment = True
    next_command = NextCommand("status")
    cause = "The file was numbered before the others were applied, often on another branch."
    solution = "Give the file a version above the highest applied one."


class InDoubt(MigratorError):
    """Whether a commit took effect isn't known: the connection was lost, and the history couldn't be read."""

    family = "history"
    headline = "not known if it was applied"
    cause = "The connection was lost during a commit, and the database couldn't be reached again in time."
    solution = "Run again when the database can be reached: the run reads the history and continues from there."
    state = "The last file is applied either completely or not at all; the next run finds out which."


class HistoryUnreadable(MigratorError):
    """The schema aurora_migrations exists but isn't a history that this version can read."""

    family = "history"
    headline = "the history cannot be read"
    by_deployment = True
    cause = "A newer version of aurora-migrations wrote the history, or the schema is something else."
    solution = "Use the newest version of aurora-migrations."


class MigrationFailed(MigratorError):
    """PostgreSQL rejected a statement of a file."""

    family = "sql"
    headline = "a statement failed"
    by_deployment = True
    otherwise = "data or privileges in the database were corrected"
    cause = "PostgreSQL rejected a statement in the file."
    solution = "Correct the file."


class StatementTimeout(MigratorError):
    """A statement ran longer than statement_timeout allows."""

    family = "sql"
    headline = "a statement took too long"
    by_deployment = True
    cause = "The statement takes longer than its time limit."
    solution = (
        "Split the work into files or batches, or raise the limit in the file's first line: "
        "`-- migration: statement_timeout = 30min`."
    )


class Cancelled(MigratorError):
    """Somebody canceled the statement, or pressed Ctrl-C."""

    family = "sql"
    headline = "a statement was canceled"
    next_command = NextCommand("history")
    cause = "Somebody canceled the statement, or stopped this program."
    solution = "Find out who did it and why before you run again."


class VerificationFailed(MigratorError):
    """The file ran, but an expectation isn't met; the fact `checks` lists each one that failed."""

    family = "verify"
    headline = "a check failed"
    by_deployment = True
    otherwise = "data in the database was corrected"
    cause = "The file ran without an error, but its expectations are not met."
    solution = "Correct the file, or its expectation."


class InternalError(MigratorError):
    """An unexpected exception; the facts `kind` and `frames` show which and where."""

    family = "internal"
    headline = "internal error"
    next_command = NextCommand("status")
    cause = "A bug in aurora-migrations."
    solution = "Run again; if it fails in the same way, report it."
    state = "Applied migrations are in the history; an unfinished file is rolled back, or continues in the next run."
