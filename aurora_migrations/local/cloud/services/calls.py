"""One call of an AWS API as it comes over HTTP: who calls, what of which service, on which resource."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request, *SignedHeaders=([^,]+), *Signature=(\w+)",
    re.ASCII,
)
_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_RPC = re.compile(r"/service/[^/]+/operation/(\w+)")


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        key: the access key it is signed with; empty if it isn't signed.
        service: as policies name it: `secretsmanager`, `logs`, `states`.
        action: as policies name it: `GetSecretValue`.
        body: what was sent.
        query: the path's query.
        signed_headers, signature: as its Authorization header has them; empty if it isn't signed.
    """

    key: str
    region: str
    service: str
    action: str
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
        """What a call in JSON asks for; empty for other protocols."""
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
