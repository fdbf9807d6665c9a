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
(`state`), what to do (`solution`) and what to type next (`next_command`). `retryable` marks transient faults;
`by_deployment` those whose remedy is a changed file or setting, which needs a deployment on AWS; `otherwise` names, for
those, what else may have been corrected, after which a run is enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

PROGRAM = "aurora-migrations"
_DONE = (("applied", "Applied by this run and staying"), ("rolled_back", "Rolled back by this run"))


@dataclass(frozen=True)
class NextCommand:
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
        return replace(self, arguments=(*self.arguments, *arguments))

    def __str__(self) -> str:
        return " ".join([self.program, self.verb, *self.arguments])


TRY_AGAIN = NextCommand("run")  # or whatever it was that failed; only the place that shows the error knows


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class MigratorError(Exception):
    """Base of all errors of the product. An error isn't changed once it is made; see `but`.

    Args:
        message: what happened, in one sentence, without row values or secrets.
        cause, solution, state, next_command, by_deployment: where this occurrence knows better than its class.
        about: an object for callers that goes into no result: a LockTimeout's wait, an InvalidFile's problems.
        facts: JSON-able values (file, line, sqlstate ...) that go into results, logs and mails as they are.
    """

    family: ClassVar[str] = ""
    retryable: ClassVar[bool] = False
    by_deployment: bool = False
    otherwise: ClassVar[str] = ""
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
        for fact, words in _DONE:
            done = self.facts.get(fact)
            if isinstance(done, list) and done:
                rest = self.state.replace(MigratorError.state, "Nothing else was changed.")
                return f"{rest} {words}: {', '.join(map(str, done))}."
        return self.state

    def to_dict(self) -> dict[str, object]:
        """The error as JSON-able data."""
        return {
            "error": self.name,
            "message": self.message,
            "cause": self.cause,
            "state": self.state,
            "solution": self.solution,
            "next_command": str(self.next_command),
            **self.facts,
        }


class InvalidInput(MigratorError):
    """What was asked for can't be done as it was asked."""

    family = "input"
    next_command = NextCommand("list")
    cause = "The request doesn't fit the migrations or the database it names."
    solution = "Correct the request and run it again."


class InvalidFile(MigratorError):
    """Files in the migrations folder that are misnamed, unreadable or hold what may not run. Names all of them."""

    family = "input"
    by_deployment = True
    cause = "The migrations folder holds files that can't be run as they are."
    solution = "Correct the files named above and run again."

    @property
    def problems(self) -> tuple[Any, ...]:
        """Each problem (`aurora_migrations.engine.migrations.Problem`)."""
        return self.about or ()


class HazardRefused(MigratorError):
    """Files that may hurt when they are deployed, where hazards are refused; the fact `hazards` lists them."""

    family = "input"
    by_deployment = True
    next_command = NextCommand("check")
    cause = "Hazards are refused here (--hazards; on AWS the setting `hazards`), and no file says why it accepts these."
    solution = "Write it as the help above says, or accept it in the file: `-- migration: allow = RULE because REASON`."


class ActionNotAllowed(MigratorError):
    """The environment doesn't allow the action; the fact `allowed` lists those that it does."""

    family = "input"
    by_deployment = True
    next_command = NextCommand("list")
    cause = "Each environment lists the actions it allows, and this one isn't among them."
    solution = "Use an environment that allows it, or add it to the environment's allowed actions and deploy."


class InvalidManifest(MigratorError):
    """The manifest is missing, damaged, of another format, or of other files than those beside it."""

    family = "package"
    by_deployment = True
    next_command = NextCommand("check", ("--write-manifest",))
    cause = (
        "The folder was changed after its manifest had been written, or the manifest was not written by this version."
    )
    solution = (
        "Write it anew (`aurora-migrations check --write-manifest`; a build for AWS does so), or delete manifest.json "
        "where files can be read instead."
    )


class PackageChanged(MigratorError):
    """The files aren't those that the run began with."""

    family = "package"
    cause = "The folder was changed, or another version was deployed, while the run was under way."
    solution = "Run again: the run starts over with the files as they are now."


class SecretNotFound(MigratorError):
    """Secrets Manager has no such secret, or no current value of it."""

    family = "secret"
    by_deployment = True
    otherwise = "the secret was restored"
    cause = "The secret's ARN is wrong, or the secret was deleted, or is of another account or region."
    solution = "Correct the secret's ARN in the environment's settings and deploy, or restore the secret."


class SecretAccessDenied(MigratorError):
    """The function may not read the secret, or may not use the key that it is encrypted with."""

    family = "secret"
    cause = "The function's role, the secret's policy or the VPC endpoint's policy doesn't let it read the secret."
    solution = (
        "Grant secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its key if it is a customer's own. "
        "If all is granted, see whether the ARN in the settings is complete: AWS adds six characters at its end."
    )


class SecretMalformed(MigratorError):
    """The secret isn't one of a PostgreSQL database, or contradicts the settings. None of its values is told."""

    family = "secret"
    cause = "The secret is of another database or another product, or was written by hand."
    solution = "Write it as Amazon RDS does: a JSON object with username and password; host, port and dbname may join."


class SecretsUnreachable(MigratorError):
    """Secrets Manager didn't answer in time, or is out of order."""

    family = "secret"
    retryable = True
    cause = "There is no way from the function's subnets to Secrets Manager: no VPC endpoint, or port 443 is closed."
    solution = "Check the VPC endpoint for Secrets Manager, its security group's rule for port 443, and its DNS name."


class DatabaseUnreachable(MigratorError):
    """No connection; the fact `step` says where it ended: DNS, TCP, TLS or startup."""

    family = "connection"
    retryable = True
    cause = "The database's address is wrong, or the network between here and there doesn't let us through."
    solution = "Check host and port, the security group's rule for the port, and that the database is up."


class DatabaseBusy(MigratorError):
    """The server is there and takes no connection now."""

    family = "connection"
    retryable = True
    cause = "All connections are taken, or the server is starting up or shutting down."
    solution = "Wait and run again; if it lasts, see who holds the connections (pg_stat_activity)."


class ConnectionLost(MigratorError):
    """The connection broke while a run was under way."""

    family = "connection"
    retryable = True
    cause = "The server was restarted or failed over, an administrator ended the session, or the network broke."
    solution = "Run again: what is applied is in the history, and the run goes on after it."


class NotAWriter(MigratorError):
    """The server is a standby (a reader), or became one."""

    family = "connection"
    retryable = True
    next_command = NextCommand("status")
    cause = "The address leads to a reader, or a failover has just happened."
    solution = "Use the cluster's writer endpoint; after a failover, run again."


class AuthenticationFailed(MigratorError):
    """The server refused the user or the password."""

    family = "connection"
    cause = "User or password are wrong, or pg_hba.conf doesn't admit this user from here."
    solution = (
        "Check user and password: on AWS those in the secret; in a URL, where an @ or / of a password is %40 or %2F."
    )


class DatabaseNotFound(MigratorError):
    """The server has no database of that name."""

    family = "connection"
    by_deployment = True
    otherwise = "the database was created"
    cause = "The database's name is wrong, or it hasn't been created yet."
    solution = "Check the name (the setting `database.name`, or the end of the URL), or create the database."


class InsufficientPrivilege(MigratorError):
    """The role may not do what the runner itself needs (a file's own statement is MigrationFailed)."""

    family = "connection"
    cause = "The database role lacks a privilege that the runner needs for its history."
    solution = "Grant it, or connect as another role."


class LockTimeout(MigratorError):
    """A statement waited longer than it may for a lock that somebody else holds; the fact `blockers` says who."""

    family = "contention"
    retryable = True
    cause = "Another session holds a lock that the statement needs."
    solution = "Run again when that session has ended, or end it."

    @property
    def wait(self) -> Any:
        """What it waited for (`aurora_migrations.engine.locks.blockers.LockWait`), where that was seen."""
        return self.about


class Deadlock(MigratorError):
    """PostgreSQL broke a deadlock by ending our transaction."""

    family = "contention"
    retryable = True
    cause = "The file and another session took the same locks in different order."
    solution = "Run again."


class AnotherRunInProgress(MigratorError):
    """The run lock is held by somebody else, and was so for the whole budget."""

    family = "contention"
    retryable = True
    next_command = NextCommand("status")
    cause = "Another run works on this database; only one may."
    solution = "Wait for it to end and run again, or give this run more time (--wait; on AWS the setting `lock_wait`)."


class MigrationChanged(MigratorError):
    """A file isn't the one that was applied."""

    family = "history"
    by_deployment = True
    next_command = NextCommand("status")
    cause = "The file was edited after it had been applied to this database."
    solution = "Put the file back as it was, and write what you want to change as a new migration."


class MigrationMissing(MigratorError):
    """The history knows a version in the middle that the folder doesn't have."""

    family = "history"
    by_deployment = True
    next_command = NextCommand("status")
    cause = "A file that is applied to this database is not in the folder, though later ones are."
    solution = (
        "Bring the file back (its text is in aurora_migrations.applied, column sql), or check that this is the right "
        "folder."
    )


class OutOfOrder(MigratorError):
    """A file that isn't applied has a lower version than one that is."""

    family = "history"
    by_deployment = True
    next_command = NextCommand("status")
    cause = "Its number was taken before the others were applied, often on another branch."
    solution = "Give the file a version above the highest applied one and run again."


class InDoubt(MigratorError):
    """The connection broke at COMMIT and the history couldn't be asked what became of it."""

    family = "history"
    next_command = NextCommand("status")
    cause = "The connection was lost while a commit was under way, and the database could not be reached again in time."
    solution = "Run again: the runner reads the history first and goes on from what is true."
    state = "The last file is either wholly in, with its history, or not at all; the next run finds out which."


class HistoryUnreadable(MigratorError):
    """The schema aurora_migrations is there but isn't a history that this version can use."""

    family = "history"
    by_deployment = True
    cause = "The history was made by a newer version of the product, or the schema is something else."
    solution = "Check out the newest version of the product and deploy it."


class MigrationFailed(MigratorError):
    """PostgreSQL refused a statement of a file."""

    family = "sql"
    by_deployment = True
    otherwise = "data or privileges in the database were put right"
    cause = "PostgreSQL refused a statement of the file."
    solution = "Correct the file and run again."


class StatementTimeout(MigratorError):
    """A statement ran longer than statement_timeout."""

    family = "sql"
    by_deployment = True
    cause = "The statement takes longer than its time limit allows."
    solution = (
        "Split the work over several files or batches, or raise the limit for this file with a first line "
        "`-- migration: statement_timeout = TIME`, such as 30min, if that is more than it was."
    )


class Cancelled(MigratorError):
    """Somebody cancelled the statement, or pressed Ctrl-C."""

    family = "sql"
    next_command = NextCommand("history")
    cause = "Somebody asked PostgreSQL or this program to stop."
    solution = "Ask who did it and why before you run again."


class VerificationFailed(MigratorError):
    """The file ran, and what it promised isn't true; the fact `checks` lists each expectation that failed."""

    family = "verify"
    by_deployment = True
    otherwise = "data in the database was put right"
    cause = "The file ran without an error, and what it promised is not true afterwards."
    solution = "Correct the file, or its promise, and run again."


class InternalError(MigratorError):
    """Something that the product doesn't know how to tell; the facts `kind` and `frames` say what and where."""

    family = "internal"
    next_command = NextCommand("status")
    cause = "A mistake in the product itself."
    solution = "Look where the database stands, run again, and report this if it lasts."
    state = "What is applied is in the history; a file that was under way is rolled back, or goes on in the next run."
