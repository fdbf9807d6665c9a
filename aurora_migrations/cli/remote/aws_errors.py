"""Every way to fail between a terminal and a state machine. The engine's own errors pass through unchanged.

MigratorError
└── cloud   LoginMissing · LoginExpired · LoginRefused · RegionMissing · AccessDenied · CloudUnreachable
            CloudRefused · StackNotFound · StackNotReady · ExecutionNotFound · ExecutionFailed
            LocalCloudFailed
"""

from __future__ import annotations

from aurora_migrations.engine.errors import MigratorError, NextCommand

_LOG_IN = "Log in as for the AWS CLI (aws sso login, or aws configure), or name a profile with --profile NAME."


class CloudError(MigratorError):
    """Base of these.

    Attributes:
        look: what shows the execution that goes on, or may, though nobody follows it any more; else None.
    """

    family = "cloud"
    next_command = NextCommand("doctor")
    look: NextCommand | None = None

    def while_it_goes_on(self, execution: str, state: str) -> CloudError:
        """The same error, of an execution that goes on by itself, or may: what shows it is to be typed next."""
        follow = NextCommand("logs", (execution, "--follow"))
        made = self.but(state=state, next_command=follow)
        if isinstance(self, LoginExpired | LoginMissing):  # whose next command logs in
            login = f"Log in again, and look at it without starting another one: {follow}"
            made = self.but(state=state, solution=login)
        made.look = follow
        return made


class LoginMissing(CloudError):
    """There are no AWS credentials."""

    next_command = NextCommand("sts", ("get-caller-identity",), program="aws")
    cause = "Neither the environment variables nor the AWS configuration hold credentials."
    solution = _LOG_IN


class LoginExpired(CloudError):
    """The AWS credentials were good, and aren't any more."""

    next_command = NextCommand("sso", ("login",), program="aws")
    cause = "The AWS session is over; it lasts some hours."
    solution = "Log in again (aws sso login), or get new temporary credentials, and type the same command once more."


class LoginRefused(CloudError):
    """AWS doesn't know these credentials."""

    next_command = NextCommand("sts", ("get-caller-identity",), program="aws")
    cause = "The access key is wrong, was deleted or is switched off, or this machine's clock is wrong."
    solution = _LOG_IN


class RegionMissing(CloudError):
    """Nothing says which region is meant."""

    next_command = NextCommand("configure", ("get", "region"), program="aws")
    cause = "Neither --region, AWS_REGION, AWS_DEFAULT_REGION nor the AWS configuration name a region that there is."
    solution = "Add --region NAME, such as eu-west-1: the region that the stack was deployed to."


class AccessDenied(CloudError):
    """The role that asks may not do this."""

    cause = "The policies of your role don't allow it, or it is the role of another account."
    solution = "Compare account and role above with where the stack is, and ask whoever manages them for the right."


class CloudUnreachable(CloudError):
    """No answer, or one of something else than AWS."""

    cause = "This machine has no way there (network, proxy, VPN), the region's name is wrong, or AWS is out of order."
    solution = "Check the network and the region's name, and try again."


class CloudRefused(CloudError):
    """AWS refused a call for a reason that we have no word of our own for."""

    cause = "AWS's own words are above."
    solution = "Look at the state of the stack in the console, and try again."


class StackNotFound(CloudError):
    """There is no stack for the environment in this account and region."""

    next_command = NextCommand("aws-cdk@2", ("ls",), program="npx")
    cause = "The environment's name, the region or the account isn't the one that the stack was deployed with."
    solution = "Correct --env, --region or --profile; or deploy the environment first."


class StackNotReady(CloudError):
    """The stack is there, but what it makes isn't."""

    cause = "Its first deployment is under way or has failed."
    solution = "Wait for the deployment to end, or deploy again."


class ExecutionNotFound(CloudError):
    """There is no execution of that name."""

    next_command = NextCommand("history")
    cause = "The name is wrong, it was never started, or it ended more than 90 days ago: so long AWS keeps them."
    solution = "The column Execution of `history --output json` has the names; without a name the last run is meant."


class LocalCloudFailed(CloudError):
    """The local cloud could not be started."""

    next_command = NextCommand("check")
    cause = "What it is made of (PostgreSQL, the template, the package of the functions) could not be made."
    solution = "The words above say what to do."


class ExecutionFailed(CloudError):
    """An execution ended otherwise than well. Its name is the error's that the state machine ended with."""

    next_command = NextCommand("logs")
    cause = "The workflow ended by an error that is none of the migrations' own."
    solution = "Read the log of the execution. A new execution is always safe; a redrive is not."
    state = "A file is in with its record in the history, or not at all; `aurora-migrations status` tells which."

    kind: str = ""

    @property
    def name(self) -> str:
        return self.kind or type(self).__name__
