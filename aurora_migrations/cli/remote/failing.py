"""AWS's errors in our words: what is wrong, why, and what to do, without a traceback."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from aurora_migrations.cli.remote import aws_errors
from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import NextCommand

_Meaning = tuple[type[aws_errors.CloudError], str]
_NO_REGION: _Meaning = (aws_errors.RegionMissing, "No region was named, or none of that name.")
_NO_LOGIN: _Meaning = (aws_errors.LoginMissing, "There are no AWS credentials that can be used.")
_EXPIRED: _Meaning = (aws_errors.LoginExpired, "The AWS login has expired.")
_REFUSED: _Meaning = (aws_errors.LoginRefused, "AWS doesn't know these credentials.")
_DENIED: _Meaning = (aws_errors.AccessDenied, "Access denied.")
_UNREACHABLE: _Meaning = (aws_errors.CloudUnreachable, "AWS didn't answer.")

# All that a call of botocore's raises. The last two, where what answers isn't AWS, are no errors of its own family.
ERRORS = (aws.ClientError, aws.BotoCoreError, ResponseParserError, UnicodeDecodeError)
# Where it is read what AWS answers always, and another program never.
ANSWERS = (*ERRORS, LookupError)

# By the names of botocore's classes, of which older versions don't have all.
_BY_CLASS: dict[str, _Meaning] = {
    "NoRegionError": _NO_REGION,
    "InvalidRegionError": _NO_REGION,
    "NoCredentialsError": _NO_LOGIN,
    "PartialCredentialsError": _NO_LOGIN,
    "CredentialRetrievalError": _NO_LOGIN,
    "ConfigNotFound": _NO_LOGIN,
    "ConfigParseError": _NO_LOGIN,
    "TokenRetrievalError": _EXPIRED,
    "SSOError": _EXPIRED,
    "LoginError": _EXPIRED,
    "RefreshWithMFAUnsupportedError": _EXPIRED,
    "HTTPClientError": _UNREACHABLE,
    "ConnectionError": _UNREACHABLE,
}
_BY_CODE: dict[str, _Meaning] = {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "InvalidClientTokenId": _REFUSED,
    "UnrecognizedClientException": _REFUSED,
    "SignatureDoesNotMatch": _REFUSED,
    "InvalidSignatureException": _REFUSED,
    "IncompleteSignature": _REFUSED,
    "AuthFailure": _REFUSED,
    "AccessDenied": _DENIED,
    "AccessDeniedException": _DENIED,
    "AuthorizationError": _DENIED,
    "AuthorizationErrorException": _DENIED,
    "UnauthorizedOperation": _DENIED,
    "KMSAccessDenied": _DENIED,
    "KMSAccessDeniedException": _DENIED,
    "ExecutionDoesNotExist": (aws_errors.ExecutionNotFound, "There is no such execution."),
}
# The last: Step Functions may not know everywhere yet what was started a moment ago.
_TRANSIENT = (
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "InternalFailure",
    "ExecutionDoesNotExist",
)


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Turns AWS's errors into ours.

    Raises:
        CloudError: one of `aurora_migrations.cli.remote.aws_errors`.
    """
    try:
        yield
    except ANSWERS as error:
        raise explain(error) from error


def explain(error: Exception) -> aws_errors.CloudError:
    """AWS's error as one of ours."""
    if isinstance(error, aws.ClientError):
        return _of_code(error)
    if isinstance(error, aws.ProfileNotFound):
        return _no_profile(error)
    if not isinstance(error, aws.BotoCoreError):
        return _another_answers(f"{type(error).__name__}: {error}")
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_CLASS:
            ours, message = _BY_CLASS[kind.__name__]
            return ours(f"{message} ({_words(str(error))})")
    return aws_errors.CloudRefused(f"{type(error).__name__}: {_words(str(error))}")


def is_transient(error: Exception) -> bool:
    """Whether asking again about an execution may help: throttled, or a network that is away for a moment."""
    if isinstance(error, aws.ClientError):
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return answer.get("Error", {}).get("Code") in _TRANSIENT or status >= 500
    return isinstance(error, (aws.HTTPClientError, aws.ConnectionError))


def is_unanswered(error: Exception) -> bool:
    """Whether what was asked for may have been done all the same: the answer was lost, broken, or none that says no."""
    if isinstance(error, aws.ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500
    return not isinstance(error, aws.BotoCoreError) or is_transient(error)


def _no_profile(error: aws.ProfileNotFound) -> aws_errors.LoginMissing:
    return aws_errors.LoginMissing(
        f"There is no such AWS profile. ({_words(str(error))})",
        cause="Neither the configuration nor the credentials of the AWS CLI on this machine name it.",
        solution="Correct --profile (or AWS_PROFILE) to one of those that there are, or add it: aws configure sso.",
        next_command=NextCommand("configure", ("list-profiles",), program="aws"),
    )


def _of_code(error: aws.ClientError) -> aws_errors.CloudError:
    told = error.response.get("Error", {})
    code, words = str(told.get("Code", "")), _words(str(told.get("Message", "")))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if _is_anothers(code, status):
        return _another_answers(f"{error.operation_name}: HTTP {status}{f': {words}' if words else ''}")
    if code not in _BY_CODE:
        return aws_errors.CloudRefused(f"AWS refused {error.operation_name}: {code}: {words}", code=code)
    ours, message = _BY_CODE[code]
    return ours(f"{message} ({error.operation_name}: {words})", code=code)


def _is_anothers(code: str, status: int) -> bool:
    """Whether a refusal bears no name of AWS's, but what botocore makes of a page: nothing, or the HTTP status. With
    5xx AWS itself may be out of order."""
    return (code in ("", "Unknown") or code.isdecimal()) and status < 500


def _another_answers(words: str) -> aws_errors.CloudUnreachable:
    return aws_errors.CloudUnreachable(
        f"Something else than AWS answered. ({_words(words)})",
        cause="At the address that was asked is a proxy or a sign-in page of the network, what AWS_ENDPOINT_URL names, "
        "or (with --local) another program in the place of a local cloud that has ended.",
        solution="Check network, proxy and VPN, and the variables AWS_ENDPOINT_URL and HTTPS_PROXY. With --local, end "
        "`aurora-migrations up` and start it again.",
    )


def _words(text: str) -> str:
    """In one line, not too long, without passwords, and nothing that a terminal would obey. Some of AWS's denials carry
    an encoded message of a thousand characters."""
    line = re.sub(r"\s+", " ", without_password(text.split("Encoded authorization failure message")[0])).strip()
    return "".join(each if each.isprintable() else "?" for each in line)[:500]
