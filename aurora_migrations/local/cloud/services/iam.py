"""IAM of the size that the template needs: a call of an AWS API, who makes it, and whether a role may.

Every cloud has its own secret key, with which each call must be signed, as on AWS. `up` prints it, `cloud.json` keeps
it for the commands, and the functions get it in their environment; other users of the machine can read none of these. A
signature (AWS Signature Version 4) covers the method, the path, the query, the signed headers and the body. Its age
isn't checked: nobody else sees a request. No web page may call.

The functions' calls are checked against the policies of the deployed template, so a right that the template forgot is
missed here as on AWS. Conditions aren't evaluated: a statement that has one never grants, and always denies.
"""

from __future__ import annotations

import fnmatch
import hmac
import io
import json
import re
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from aurora_migrations.local.account import ACCOUNT, KEY, REGION

DEPLOY, FILES = "/local/deploy", "/local/files"  # paths of the console
Header = Callable[[str], str | None]  # a header's value by its name

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request, *SignedHeaders=([^,]+), *Signature=(\w+)",
    re.ASCII,
)
_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_RPC = re.compile(r"/service/[^/]+/operation/(\w+)")


class Refused(Exception):
    """AWS would refuse the call: with this error code, such as `ValidationException`, and this message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Call:
    """A call of an AWS API over HTTP. The facts of a signature are empty if it isn't signed."""

    key: str  # the access key that it is signed with
    region: str
    service: str  # as policies name it: `secretsmanager`, `logs`, `states`
    action: str  # as policies name it: `GetSecretValue`
    path: str
    body: bytes
    query: Mapping[str, list[str]]
    signed_headers: tuple[str, ...] = ()
    signature: str = ""

    @property
    def name(self) -> str:
        """As policies write it: `secretsmanager:GetSecretValue`."""
        return f"{self.service}:{self.action}"

    @property
    def parameters(self) -> dict[str, Any]:
        """The operation of a call in JSON; empty for other protocols."""
        try:
            data = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return data if isinstance(data, dict) else {}

    @property
    def function(self) -> str:
        """For an invocation: the function's name or ARN, with its qualifier."""
        found = _INVOKE.fullmatch(self.path)
        name = unquote(found[1]) if found else ""
        qualifier = self.query.get("Qualifier", [""])[0]
        return f"{name}:{qualifier}" if qualifier else name


def read_call(environ: dict[str, Any]) -> Call:
    """The call of a WSGI request, whose body can be read once more afterwards."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    found = _AUTHORIZATION.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
    key, region, service, names, signature = found.groups() if found else ("", "", "", "", "")
    path, query = environ.get("PATH_INFO", ""), parse_qs(environ.get("QUERY_STRING", ""))
    action = _action(environ, path, body)
    return Call(key, region, service, action, path, body, query, tuple(filter(None, names.split(";"))), signature)


def _action(environ: Mapping[str, Any], path: str, body: bytes) -> str:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if found := _RPC.fullmatch(path):
        return found[1]
    if _INVOKE.fullmatch(path) and environ.get("REQUEST_METHOD") == "POST":
        return "InvokeFunction"
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0]
    return ""


# ---- signatures -----------------------------------------------------------------------------------------------------


def is_from_a_web_page(header: Header, port: int) -> bool:
    """Whether a browser sends the request for a web page. It then names the page's origin or site or, if the page's
    domain resolves to this machine, that domain as the host. A URL typed by hand has `Sec-Fetch-Site: none`."""
    if header("Origin") is not None or (header("Sec-Fetch-Site") or "none") != "none":
        return True
    return (header("Host") or "").lower() not in (f"127.0.0.1:{port}", f"localhost:{port}")


def signed(method: str, url: str, secret: str) -> urllib.request.Request:
    """A signed request without a body to the cloud's console."""
    request = AWSRequest(method, url)
    SigV4Auth(Credentials(KEY, secret), "local", REGION).add_auth(request)
    return urllib.request.Request(url, method=method, headers=dict(request.headers.items()))


def is_signed(call: Call, environ: Mapping[str, Any], header: Header, secret: str) -> bool:
    """Whether the call's signature was made with this secret key."""
    headers = {name: header(name) or "" for name in call.signed_headers}
    url = f"http://{header('Host')}{environ['RAW_URI']}"  # the path as it was sent, which is what was signed
    request = AWSRequest(environ["REQUEST_METHOD"], url, headers, call.body)
    request.context["timestamp"] = header("X-Amz-Date") or ""
    kind = S3SigV4Auth if call.service == "s3" else SigV4Auth
    signer = kind(Credentials(call.key, secret), call.service, call.region)
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return hmac.compare_digest(expected, call.signature)


# ---- policies -------------------------------------------------------------------------------------------------------


def allows(policies: Iterable[Mapping[str, Any]], action: str, resource: str) -> bool:
    """Whether policies allow an action on a resource: some statement does, and none denies."""
    effects = [
        statement["Effect"]
        for policy in policies
        for statement in _many(policy["Statement"])
        if any(_like(action.lower(), each.lower()) for each in _many(statement["Action"]))
        and any(_like(resource, each) for each in _many(statement["Resource"]))
        and (statement["Effect"] == "Deny" or "Condition" not in statement)
    ]
    return "Allow" in effects and "Deny" not in effects


def resource_of(call: Call) -> str:
    """The resource that a call is about, as AWS's service authorization reference names it for its action; `*` where
    it names none."""
    parameters = call.parameters
    if call.service == "secretsmanager":
        return str(parameters.get("SecretId", "*"))
    if call.service == "states":
        return str(parameters.get("stateMachineArn") or parameters.get("executionArn") or "*")
    if call.service == "cloudformation":
        return parse_qs(call.body.decode("utf-8", "replace")).get("StackName", ["*"])[0]
    if call.service == "logs" and "logGroupName" in parameters:
        group = f"arn:aws:logs:{call.region}:{ACCOUNT}:log-group:{parameters['logGroupName']}"
        stream = parameters.get("logStreamName") if call.action == "PutLogEvents" else None
        return f"{group}:log-stream:{stream}" if stream else f"{group}:*"
    return "*"


def _like(value: str, pattern: str) -> bool:
    """IAM's wildcards: `*` and `?`."""
    return fnmatch.fnmatchcase(value, pattern.replace("[", "[[]"))


def _many(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
