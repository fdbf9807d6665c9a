"""Authenticates calls of the local cloud: each must be signed with its secret key, as on AWS, and no web page may call.

Every cloud has its own secret key. `up` prints it, `cloud.json` keeps it for the commands, and the functions get it in
their environment; other users of the machine can read none of these. A signature (AWS Signature Version 4) covers the
method, the path, the query, the signed headers and the body. Its age isn't checked: nobody else sees a request.
"""

from __future__ import annotations

import hmac
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from aurora_migrations.local.account import KEY, REGION
from aurora_migrations.local.cloud.services.iam import Call

Header = Callable[[str], str | None]  # a header's value by its name
_SERVICE = "local"  # the service in signatures of requests to the console
DEPLOY, FILES = "/local/deploy", "/local/files"  # paths of the console


def is_from_a_web_page(header: Header, port: int) -> bool:
    """Whether a browser sends the request for a web page. It then names the page's origin or site or, if the page's
    domain resolves to this machine, that domain as the host. A URL typed by hand has `Sec-Fetch-Site: none`."""
    if header("Origin") is not None or (header("Sec-Fetch-Site") or "none") != "none":
        return True
    return (header("Host") or "").lower() not in (f"127.0.0.1:{port}", f"localhost:{port}")


def signed(method: str, url: str, secret: str) -> urllib.request.Request:
    """A signed request without a body to the cloud's console."""
    request = AWSRequest(method, url)
    SigV4Auth(Credentials(KEY, secret), _SERVICE, REGION).add_auth(request)
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
