"""Every way to fail between a terminal and a state machine; and as which error of ours AWS's error, or the end of an
execution, is raised.

MigratorError
└── cloud   LoginMissing · LoginExpired · LoginRefused · RegionMissing · AccessDenied · CloudUnreachable
            CloudRefused · StackNotFound · StackNotReady · ExecutionNotFound · ExecutionFailed
            LocalCloudFailed

The engine's own errors pass through unchanged.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import Cancelled, InvalidInput, MigratorError, NextCommand
from aurora_migrations.engine.steps.execution import CONTRACT_BROKEN, parse_object

if TYPE_CHECKING:
    from aurora_migrations.cli.remote.environment import Execution

# What a call of botocore raises. The last two, where something else than AWS answers, are no errors of its own family.
CALL_ERRORS = (aws.ClientError, aws.BotoCoreError, ResponseParserError, UnicodeDecodeError)
# Where the answer is read, too: AWS's has the keys that it must have, another program's may not.
READ_ERRORS = (*CALL_ERRORS, LookupError)
# The last: Step Functions may not know everywhere yet what was started a moment ago.
_THROTTLED = ("ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException")
_TRANSIENT = (*_THROTTLED, "InternalFailure", "ExecutionDoesNotExist")
_TEXTS = ("message", "cause", "state", "solution", "next_command")
_NO_FACTS = (*_TEXTS, "error", "execution", "mail")  # the mail repeats it
_SHOWN = 1_000  # characters of a cause that nobody has written for people
_LOG_IN = "Log in as for the AWS CLI (aws sso login or aws configure), or use --profile NAME."


class CloudError(MigratorError):
    """Base of these."""

    family = "cloud"
    next_command = NextCommand("doctor")
    # What AWS calls it: error codes of its services, and names of botocore's classes (as text, because older versions
    # don't have all of them), with spaces in between.
    codes: ClassVar[str] = ""
    what: ClassVar[str] = ""  # the message for those
    progress_command: NextCommand | None = None  # shows the execution that is running, or may be, and isn't followed

    def while_running(self, execution: str, state: str) -> CloudError:
        """The same error while an execution is running, or may be; the next command shows that one."""
        follow = NextCommand("logs", (execution, "--follow"))
        logs_in = isinstance(self, LoginExpired | LoginMissing)  # by its next command
        login = f"Log in again, and follow it without starting another one: {follow}" if logs_in else None
        made = self.but(state=state, solution=login, next_command=None if logs_in else follow)
        made.progress_command = follow
        return made


class LoginMissing(CloudError):
    """There are no AWS credentials."""

    codes = "NoCredentialsError PartialCredentialsError CredentialRetrievalError ConfigNotFound ConfigParseError"
    what = "No usable AWS credentials were found."
    next_command = NextCommand("sts", ("get-caller-identity",), program="aws")
    cause = "Neither the environment variables nor the AWS configuration contain credentials."
    solution = _LOG_IN


class LoginExpired(CloudError):
    """The AWS credentials were good, and aren't any more."""

    codes = (
        "ExpiredToken ExpiredTokenException RequestExpired "
        "TokenRetrievalError SSOError LoginError RefreshWithMFAUnsupportedError"
    )
    what = "The AWS login has expired."
    next_command = NextCommand("sso", ("login",), program="aws")
    cause = "An AWS session lasts a few hours."
    solution = "Log in again (aws sso login), or get new temporary credentials, and repeat the command."


class LoginRefused(CloudError):
    """AWS doesn't accept these credentials."""

    codes = (
        "InvalidClientTokenId UnrecognizedClientException SignatureDoesNotMatch "
        "InvalidSignatureException IncompleteSignature AuthFailure"
    )
    what = "AWS doesn't accept these credentials."
    next_command = NextCommand("sts", ("get-caller-identity",), program="aws")
    cause = "The access key is wrong, deleted or inactive, or this machine's clock is wrong."
    solution = _LOG_IN


class RegionMissing(CloudError):
    """No region is set."""

    codes = "NoRegionError InvalidRegionError"
    what = "No AWS region was given, or it doesn't exist."
    next_command = NextCommand("configure", ("get", "region"), program="aws")
    cause = "--region, AWS_REGION, AWS_DEFAULT_REGION and the AWS configuration have no valid region."
    solution = "Add --region NAME: the stack's region, such as eu-west-1."


class AccessDenied(CloudError):
    """The role in use may not do this."""

    codes = (
        "AccessDenied AccessDeniedException AuthorizationError AuthorizationErrorException "
        "UnauthorizedOperation KMSAccessDenied KMSAccessDeniedException"
    )
    what = "Access denied."
    cause = "The policies of your role don't allow it, or it is the role of another account."
    solution = "Compare account and role above with the stack's, and have their administrator allow it."


class CloudUnreachable(CloudError):
    """No answer, or one of something else than AWS."""

    codes = "HTTPClientError ConnectionError"
    what = "AWS didn't answer."
    cause = "This machine can't reach AWS (network, proxy, VPN), the region's name is wrong, or AWS has an outage."
    solution = "Check the network and the region's name, and try again."


class CloudRefused(CloudError):
    """AWS refused a call for a reason that we have no word of our own for."""

    cause = "AWS's message is above."
    solution = "Check the stack in the console, and try again."


class StackNotFound(CloudError):
    """There is no stack for the environment in this account and region."""

    next_command = NextCommand("aws-cdk@2", ("ls",), program="npx")
    cause = "The stack was deployed with another environment name, or in another region or account."
    solution = "Correct --env, --region or --profile, or deploy the environment first."


class StackNotReady(CloudError):
    """The stack is there, but what it makes isn't."""

    cause = "Its first deployment is under way or has failed."
    solution = "Wait for the deployment to end, or deploy again."


class ExecutionNotFound(CloudError):
    """There is no execution of that name."""

    codes = "ExecutionDoesNotExist"
    what = "There is no such execution."
    next_command = NextCommand("history")
    cause = "The name is wrong, or the execution ended more than 90 days ago and is no longer kept."
    solution = "`history --output json` lists the names; without a name, `logs` shows the last run."


class LocalCloudFailed(CloudError):
    """The local cloud could not be started."""

    next_command = NextCommand("check")
    cause = "PostgreSQL, the CloudFormation template or the functions' package couldn't be started or built."
    solution = "The message above has the remedy."


class ExecutionFailed(CloudError):
    """An execution failed. Its name is the error's that the state machine ended with."""

    next_command = NextCommand("logs")
    cause = "The state machine failed with an error that doesn't come from a migration."
    solution = "Read its log. A new execution is always safe; a redrive is not."
    state = "Each file was applied with its history record, or not at all; `aurora-migrations status` shows which."

    kind: str = ""

    @property
    def name(self) -> str:
        return self.kind or type(self).__name__


# ---- AWS's errors ---------------------------------------------------------------------------------------------------

_KINDS = {name: kind for kind in CloudError.__subclasses__() for name in kind.codes.split()}


@contextlib.contextmanager
def aws_errors() -> Iterator[None]:
    """Raises AWS's errors as ours."""
    try:
        yield
    except READ_ERRORS as error:
        raise to_cloud_error(error) from error


def to_cloud_error(error: Exception) -> CloudError:
    """AWS's error as one of ours: what is wrong, why, and what to do, without a traceback."""
    if isinstance(error, aws.ClientError):
        details = error.response.get("Error", {})
        code, words = str(details.get("Code", "")), _words(str(details.get("Message", "")))
        # Without a code of AWS's, botocore names a page by nothing or by its HTTP status. With 5xx AWS may be out of
        # order.
        if (code in ("", "Unknown") or code.isdecimal()) and _status(error) < 500:
            return _not_aws(f"{error.operation_name}: HTTP {_status(error)}{f': {words}' if words else ''}")
        if kind := _KINDS.get(code):
            return kind(f"{kind.what} ({error.operation_name}: {words})", code=code)
        return CloudRefused(f"AWS refused {error.operation_name}: {code}: {words}", code=code)
    if isinstance(error, aws.ProfileNotFound):
        return LoginMissing(
            f"There is no such AWS profile. ({_words(str(error))})",
            cause="It is neither in the configuration nor in the credentials of the AWS CLI on this machine.",
            solution="Correct --profile (or AWS_PROFILE), or add the profile: aws configure sso.",
            next_command=NextCommand("configure", ("list-profiles",), program="aws"),
        )
    if not isinstance(error, aws.BotoCoreError):
        return _not_aws(f"{type(error).__name__}: {error}")
    for base in type(error).__mro__:
        if kind := _KINDS.get(base.__name__):
            return kind(f"{kind.what} ({_words(str(error))})")
    return CloudRefused(f"{type(error).__name__}: {_words(str(error))}")


def is_transient(error: Exception) -> bool:
    """Whether another request about an execution may help: throttled, or a network that is away for a moment."""
    if isinstance(error, aws.ClientError):
        return error.response.get("Error", {}).get("Code") in _TRANSIENT or _status(error) >= 500
    return isinstance(error, (aws.HTTPClientError, aws.ConnectionError))


def is_unanswered(error: Exception) -> bool:
    """Whether the call may have done its work all the same: the answer was lost, broken, or no refusal."""
    if isinstance(error, aws.ClientError):
        return _status(error) >= 500
    return not isinstance(error, aws.BotoCoreError) or is_transient(error)


def _not_aws(words: str) -> CloudUnreachable:
    return CloudUnreachable(
        f"The answer didn't come from AWS. ({_words(words)})",
        cause="A proxy or a sign-in page of the network answered, or the endpoint in AWS_ENDPOINT_URL, "
        "or (with --local) another program at the address of a local cloud that has ended.",
        solution="Check network, proxy and VPN, and the variables AWS_ENDPOINT_URL and HTTPS_PROXY. With --local, end "
        "`aurora-migrations up` and start it again.",
    )


def _status(error: aws.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _words(text: str) -> str:
    """In one line, not too long, without passwords, and nothing that a terminal would obey. Some of AWS's denials carry
    an encoded message of a thousand characters."""
    line = re.sub(r"\s+", " ", without_password(text.split("Encoded authorization failure message")[0])).strip()
    return "".join(each if each.isprintable() else "?" for each in line)[:500]


# ---- how an execution ended -----------------------------------------------------------------------------------------

_CALL_GOES_ON = "A function call that was running continues to its end. " + ExecutionFailed.state


def contract_broken(execution: str, what: str) -> ExecutionFailed:
    """The error of an execution that succeeded with an output that this version can't read."""
    error = ExecutionFailed(
        f"The execution {execution} succeeded, but {what}.",
        cause="Another version of aurora-migrations deployed the stack, or it isn't one of its stacks.",
        solution="Deploy the environment with this version, or use the command of the version that deployed it.",
        next_command=NextCommand("logs", (execution,)),
    )
    error.kind = CONTRACT_BROKEN
    return error


def error_of(execution: Execution) -> MigratorError:
    """The error of an execution that didn't succeed: with the name and the facts of the engine's, if it raised one."""
    if execution.status == "ABORTED":
        return Cancelled(
            f"The execution {execution.name} was stopped: {execution.cause or 'no reason was given'}.",
            cause="Someone stopped it, here or in the console.",
            state=_CALL_GOES_ON,
            next_command=NextCommand("status"),
        )
    if execution.status == "TIMED_OUT":
        return ExecutionFailed(
            f"The execution {execution.name} took longer than the environment's limits.run_timeout allows.",
            cause="It waited for other sessions, or there was more work than fits into that time.",
            state=_CALL_GOES_ON,
            next_command=NextCommand("logs", (execution.name,)),
        )
    payload = error_payload(execution.cause)
    if payload is None:
        words = parse_object(execution.cause).get("errorMessage")
        if not isinstance(words, str):
            words = " ".join((execution.cause or "no cause was given").split())
        message = f"The execution {execution.name} failed: {words[:_SHOWN]}"
        error = ExecutionFailed(message, next_command=NextCommand("logs", (execution.name,)))
        error.kind = execution.error or ""
        return error
    texts: dict[str, Any] = {key: str(payload[key]) for key in _TEXTS if key in payload}
    if "next_command" in texts:
        texts["next_command"] = NextCommand.parse(texts["next_command"])
    facts = {key: value for key, value in payload.items() if key not in _NO_FACTS}
    if payload["error"] == InvalidInput.__name__:
        return InvalidInput(**texts, **facts)
    error = ExecutionFailed(**texts, **facts)
    error.kind = str(payload["error"])
    return error


def error_payload(cause: str | None) -> dict[str, Any] | None:
    """The engine's error in a Cause of Step Functions: JSON, as the text of Lambda's exception."""
    found = parse_object(parse_object(cause).get("errorMessage"))
    return found if isinstance(found.get("error"), str) and isinstance(found.get("message"), str) else None
