"""Who the local cloud answers: nobody without its secret key, and no web page, whatever a browser can send."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from moto.moto_api._internal.models import moto_api_backend
from moto.secretsmanager.models import secretsmanager_backends

from aurora_migrations.local.account import ACCOUNT, KEY, REGION, key_of
from aurora_migrations.local.cloud.console import Console, Mail
from aurora_migrations.local.cloud.endpoint import Endpoint
from aurora_migrations.local.cloud.services import stepfunctions
from aurora_migrations.local.cloud.services.eventbridge import Sent
from aurora_migrations.local.cloud.services.iam import signed
from aurora_migrations.local.cloud.services.sandbox import Answer, Event, RuntimeApi

CANARY = "canary-password"
MAIL = "canary-mail"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/apply"
INVOCATION = "/2015-03-31/functions/aurora-migrations-local-apply/invocations"
SECRET_VALUE = {"X-Amz-Target": "secretsmanager.GetSecretValue", "Content-Type": "application/x-amz-json-1.1"}


class Recorder:
    """Stands for the functions and the state machines, and remembers what was asked of them."""

    def __init__(self) -> None:
        self.did: list[str] = []

    def find(self, function: str) -> Any:
        self.did.append(function)
        raise LookupError(function)

    def deploy(self) -> Sent:
        self.did.append("deploy")
        return Sent("1", ())


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def endpoint(recorder: Recorder) -> Iterator[Endpoint]:
    """An endpoint with a database's secret in it."""
    moto_api_backend.reset()
    text = json.dumps({"password": CANARY})
    backend = secretsmanager_backends[ACCOUNT][REGION]
    backend.create_secret("local/database", text, None, None, [], None, None, [], False)
    made = Endpoint()
    made.functions = recorder  # type: ignore[assignment]
    made.console = Console(recorder.deploy, recorder.deploy, lambda: [Mail(("a@b.c",), MAIL, "")], lambda: "f1")
    yield made
    made.close()
    moto_api_backend.reset()


def port_of(endpoint: Endpoint) -> int:
    return int(endpoint.url.rpartition(":")[2])


def send(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    """Sends exactly these headers; the status and the text of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    all_headers = {"Host": f"127.0.0.1:{port}", **{name.replace("_", "-"): text for name, text in headers.items()}}
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, text in all_headers.items():
            connection.putheader(name, text)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def client(endpoint: Endpoint, service: str, key: str, secret: str) -> Any:
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret}
    return boto3.client(service, endpoint_url=endpoint.url, region_name=REGION, **keys)


# What a browser sends for a page: with a page's origin; as an image or a link; to a name that resolves to this machine.
PAGES = {
    "post": {"Origin": "https://elsewhere.example", "Content-Type": "text/plain"},
    "no-origin": {"Origin": "null"},
    "image": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "link": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "same-machine": {"Sec-Fetch-Site": "same-site"},
    "rebinding": {"Host": "elsewhere.example:{port}"},
    "rebinding-without-port": {"Host": "127.0.0.1"},
    "another-port": {"Host": "localhost:1"},
    "no-host": {"Host": ""},
}
ROUTES = [
    ("GET", "/local/inbox"),
    ("GET", "/local/files"),
    ("POST", "/local/deploy"),
    ("POST", "/local/daily"),
    ("POST", INVOCATION),
    ("GET", INVOCATION),
    ("GET", "/?Action=ListTopics&Version=2010-03-31"),
    ("GET", "/moto-api/data.json"),
    ("POST", "/moto-api/reset"),
    ("POST", "/"),
    ("OPTIONS", "/"),
]


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_no_web_page_is_answered_by_the_endpoint(page: dict[str, str], endpoint: Endpoint, recorder: Recorder) -> None:
    port = port_of(endpoint)
    headers = {name: text.format(port=port) for name, text in page.items()}
    inbox = endpoint.inbox.removeprefix(endpoint.url)
    for method, path in [*ROUTES, ("GET", inbox)]:
        status, text = send(port, method, path, **{**SECRET_VALUE, **headers})
        assert (status, "doesn't answer web pages" in text, MAIL in text) == (403, True, False), (method, path)
    assert recorder.did == []


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=map(" ".join, ROUTES))
def test_another_user_without_the_key_is_told_so_by_the_endpoint(
    method: str, path: str, endpoint: Endpoint, recorder: Recorder
) -> None:
    body = b'{"SecretId": "local/database"}'
    forged = f"AWS4-HMAC-SHA256 Credential={KEY}/20261130/{REGION}/secretsmanager/aws4_request, SignedHeaders=host"
    authorizations = [{}, {"Authorization": f"{forged}, Signature={'0' * 64}"}, {"Authorization": "Bearer x"}]
    for authorization in authorizations:
        status, text = send(port_of(endpoint), method, path, body, **SECRET_VALUE, **authorization)
        assert (status, CANARY in text, MAIL in text) == (403, False, False)
        assert "AWS_SECRET_ACCESS_KEY" in text
    assert recorder.did == []


@pytest.mark.parametrize(
    ("key", "secret"), [(KEY, "local"), (KEY, "f" * 40), ("AKIA", None), (key_of(ROLE), None)], ids=range(4)
)
def test_wrong_keys_of_an_aws_client_are_refused_in_words(key: str, secret: str | None, endpoint: Endpoint) -> None:
    """Also where the secret key is right, and the access key belongs to nobody, or to a role that isn't deployed."""
    keys = (key, secret or endpoint.secret)
    for service, operation, parameters in CALLS[:3]:
        with pytest.raises((ClientError, ResponseParserError), match="isn't signed with the keys of this local cloud"):
            getattr(client(endpoint, service, *keys), operation)(**parameters)


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("secretsmanager", "get_secret_value", {"SecretId": "local/database"}),  # JSON
    ("sns", "list_topics", {}),  # a form, and XML
    ("sns", "create_topic", {"Name": "a", "Attributes": {"DisplayName": "ä + b/c  d~%41&="}}),
    ("s3", "list_buckets", {}),
    ("s3", "create_bucket", {"Bucket": "bucket"}),
    ("s3", "put_object", {"Bucket": "bucket", "Key": "a b/../ä%41+?", "Body": b"text", "Metadata": {"a": " b  c "}}),
    ("s3", "list_objects_v2", {"Bucket": "bucket", "Prefix": "a b&=/+~", "MaxKeys": 1}),
]


def test_every_kind_of_call_is_signed_and_answered(endpoint: Endpoint, recorder: Recorder) -> None:
    keys = (KEY, endpoint.secret)
    for service, operation, parameters in CALLS:
        answer = getattr(client(endpoint, service, *keys), operation)(**parameters)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    name = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:apply"  # of a path in which colons are quoted
    with pytest.raises(ClientError, match=name):
        client(endpoint, "lambda", *keys).invoke(FunctionName=name, Qualifier="live", Payload=b"{}")
    assert recorder.did == [f"{name}:live"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_another_implementation_of_the_signature_is_understood(endpoint: Endpoint) -> None:
    command = ["curl", "-sS", "--aws-sigv4", f"aws:amz:{REGION}:secretsmanager", "--user", f"{KEY}:{endpoint.secret}"]
    headers = [f"-H{name}: {text}" for name, text in SECRET_VALUE.items()]
    command += [*headers, "--data", '{"SecretId": "local/database"}', f"{endpoint.url}/"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert CANARY in json.loads(said)["SecretString"]


def test_the_clouds_own_pages_are_for_its_commands_and_the_inbox_for_its_address(
    endpoint: Endpoint, recorder: Recorder
) -> None:
    def get(request: urllib.request.Request | str) -> str:
        with urllib.request.urlopen(request, timeout=10) as response:
            return str(response.read().decode())

    assert json.loads(get(signed("GET", f"{endpoint.url}/local/files", endpoint.secret))) == {"fingerprint": "f1"}
    assert json.loads(get(signed("POST", f"{endpoint.url}/local/deploy", endpoint.secret))) == {"started": []}
    assert recorder.did == ["deploy"]
    assert MAIL in get(endpoint.inbox)
    opens = endpoint.inbox.partition("?")[2]
    for path in ("/local/inbox?key=", f"/local/inbox?key={endpoint.secret}", f"/local/files?{opens}", f"/?{opens}"):
        assert send(port_of(endpoint), "GET", path)[0] == 403, path
    assert send(port_of(endpoint), "POST", f"/local/deploy?{opens}")[0] == 403
    assert recorder.did == ["deploy"]


def test_not_even_a_signed_get_calls_a_function_or_deploys(endpoint: Endpoint, recorder: Recorder) -> None:
    for path in (INVOCATION, "/local/deploy", "/local/daily"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(signed("GET", f"{endpoint.url}{path}", endpoint.secret), timeout=10)
    assert recorder.did == []


def test_state_machines_call_services_at_this_address_with_the_key(endpoint: Endpoint) -> None:
    """moto's interpreter has a fixed key and calls `localhost`, at which somebody else may listen by IPv6."""
    made = stepfunctions.boto_client.boto_client_for(REGION, "secretsmanager")
    assert made.meta.endpoint_url == endpoint.url
    assert CANARY in made.get_secret_value(SecretId="local/database")["SecretString"]


def disconnect(port: int, data: bytes) -> None:
    """Sends this and resets the connection, as a client does that is killed."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_client_that_disconnects_leaves_no_traceback(endpoint: Endpoint, capfd: pytest.CaptureFixture[str]) -> None:
    api = RuntimeApi()
    api.serve(lambda port: True)
    host = f"Host: {api.address}\r\n".encode()
    begun = threading.Event()
    take_next = api.next
    api.next = lambda: begun.set() or take_next()  # type: ignore[method-assign]
    with socket.create_connection(("127.0.0.1", api.port)) as waiting:
        waiting.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n" + host + b"\r\n")
        assert begun.wait(10)
        waiting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    api.send(Event("id", b"x" * 1_000_000, 1, "arn"))
    for port in (api.port, port_of(endpoint)):
        for data in (
            b"",
            b"POST / HT",
            b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
            b"GET http://[::1 HTTP/1.1\r\n\r\n",
        ):
            disconnect(port, data)
    status, _ = send(port_of(endpoint), "GET", "/")  # by then the others are dealt with
    api.close()
    assert status == 403
    time.sleep(0.2)
    assert capfd.readouterr().err == ""


# ---- the Runtime API of a sandbox -----------------------------------------------------------------------------------

RUNTIME = "/2018-06-01/runtime"
NEXT, RESPONSE = f"{RUNTIME}/invocation/next", f"{RUNTIME}/invocation/{{}}/response"


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    """One that takes every connection for the sandbox's own."""
    made = RuntimeApi()
    made.serve(lambda port: True)
    yield made
    made.close()


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_no_web_page_takes_an_event_or_forges_an_answer(page: dict[str, str], api: RuntimeApi) -> None:
    headers = {name: text.format(port=api.port) for name, text in page.items()}
    api.send(Event("id", b"{}", 1, "arn"))
    smuggled = f"GET {NEXT} HTTP/1.1\r\nHost: {api.address}\r\n\r\n".encode()
    for method, path in (("GET", NEXT), ("POST", RESPONSE.format("id")), ("POST", f"{RUNTIME}/init/error")):
        assert send(api.port, method, path, smuggled, **headers)[0] == 403
    assert api.answers.empty()
    assert not api.ready.is_set(), "the event is still there"
    assert send(api.port, "GET", NEXT) == (200, "{}")


def test_only_the_answer_to_the_event_under_way_is_taken_and_only_once(api: RuntimeApi) -> None:
    def answer(request_id: str, text: str, kind: str = "response") -> int:
        return send(api.port, "POST", f"{RUNTIME}/invocation/{request_id}/{kind}", text.encode())[0]

    assert answer("one", "before any event") == 400
    api.send(Event("one", b"{}", 1, "arn"))
    send(api.port, "GET", NEXT)
    assert [answer("two", "of another"), answer("", "of none"), answer("one/x", "odd")] == [400, 400, 400]
    assert [answer("one", "right"), answer("one", "again"), answer("one", "again", "error")] == [202, 400, 400]
    api.send(Event("two", b"{}", 1, "arn"))
    send(api.port, "GET", NEXT)
    assert [answer("one", "late"), answer("two", "wrong", "error")] == [400, 202]
    api.send(Event("three", b"{}", 1, "arn"))
    api.stop_waiting()
    assert answer("three", "after its time") == 400
    assert send(api.port, "POST", f"{RUNTIME}/init/error", b"though it is loaded")[0] == 400
    assert send(api.port, "POST", f"{RUNTIME}/elsewhere/response")[0] == 404
    assert [api.answers.get_nowait(), api.answers.get_nowait()] == [Answer(b"right"), Answer(b"wrong", failed=True)]
    assert api.answers.empty()
