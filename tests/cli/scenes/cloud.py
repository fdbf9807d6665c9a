"""Family cloud: between a terminal and a state machine, on AWS or here."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import botocore.client
from botocore.exceptions import (
    EndpointConnectionError,
    ReadTimeoutError,
    UnauthorizedSSOTokenError,
    UnknownServiceError,
)

from aurora_migrations.local.cloud.discovery import Access, found_by_others
from tests.cli.cloud import answering, interrupted, spoilt, waiting
from tests.cli.conftest import Answer
from tests.cli.stage import Stage, refusal
from tests.listeners import free_port, listening

UNREACHABLE = EndpointConnectionError(endpoint_url="https://sts.eu-west-1.amazonaws.com/")
ODD = UnknownServiceError(service_name="cloudformation", known_service_names="none")
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:ours"
STACK = (
    '<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks>'
    "<member><StackName>any</StackName><CreationTime>2026-11-23T04:00:17Z</CreationTime>"
    "<StackStatus>CREATE_COMPLETE</StackStatus><Outputs><member><OutputKey>StateMachineArn</OutputKey>"
    f"<OutputValue>{MACHINE}</OutputValue></member></Outputs></member></Stacks></DescribeStacksResult>"
    "</DescribeStacksResponse>"
)


# ---- AWS ------------------------------------------------------------------------------------------------------------


def _without_login(stage: Stage) -> Answer:
    _ = stage.cloud
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        stage.patch.delenv(name)
    return stage.env("run")


def _without_region(stage: Stage) -> Answer:
    _ = stage.cloud
    stage.patch.delenv("AWS_DEFAULT_REGION")
    return stage.env("run")


def _of_others(stage: Stage) -> Answer:
    stage.cloud.stack({"Other": "x"})
    return stage.env("run")


def _not_ready(stage: Stage) -> Answer:
    """moto makes a stack at once; on AWS it takes minutes, and a stack says so meanwhile."""
    stage.cloud.stack({"Other": "x"})
    real = botocore.client.BaseClient._make_api_call

    def call(client: Any, name: str, parameters: Any) -> Any:
        answer = real(client, name, parameters)
        for each in answer.get("Stacks", []):
            each["StackStatus"] = "CREATE_IN_PROGRESS"
        return answer

    stage.patch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    return stage.env("run")


def _several(stage: Stage) -> Answer:
    machine = answering({"status": {}})
    stage.cloud.deploy_several("dev", {"shop": machine, "billing": machine})
    return stage.env("run")


def _elsewhere(stage: Stage) -> Answer:
    stage.cloud.deploy_bare(answering({"status": {}}))
    return stage.call("run", "--env", "prod")


def _no_execution(stage: Stage) -> Answer:
    stage.cloud.deploy_bare(answering({"status": {}}))
    return stage.env("logs", "cli-nobody")


def _no_run_yet(stage: Stage) -> Answer:
    stage.cloud.deploy_bare(answering({"status": {}}))
    return stage.env("logs")


def _expires_meanwhile(stage: Stage) -> Answer:
    stage.cloud.deploy_bare(answering({"run-migration": {}}))
    return stage.aws("GetExecutionHistory", refusal("ExpiredTokenException", "The token is expired"), "run")


def _answer_lost(stage: Stage) -> Answer:
    stage.cloud.deploy_bare(waiting())
    spoilt(stage.patch, "StartExecution", ReadTimeoutError(endpoint_url="https://states.eu-west-1.amazonaws.com/"))
    return stage.env("run")


def _may_not_stop(stage: Stage) -> Answer:
    """Ctrl-C, and who asks may start executions, but not stop them."""
    stage.cloud.deploy_bare(waiting())
    spoilt(stage.patch, "StopExecution", ("AccessDeniedException", "User: jane is not authorized"), before=True)
    interrupted(stage.patch)
    return stage.types("s").env("run")


def _not_ours(stage: Stage) -> Answer:
    return stage.machine_ends("Lambda.Unknown", "The function ended without an answer.")


def _odd_answer(stage: Stage) -> Answer:
    stage.cloud.deploy_bare(answering({"run-migration": {"something": "else"}}))
    return stage.env("run")


def _older_answer(stage: Stage) -> Answer:
    stage.cloud.deploy_bare(answering({"list-migrations": {"status": "success", "migration": None, "message": "m"}}))
    return stage.env("list")


def _too_long(stage: Stage) -> Answer:
    stage.cloud.deploy_bare({**waiting(30), "TimeoutSeconds": 1})
    return stage.env("run")


def _in_its_log(stage: Stage) -> Answer:
    """`logs` tells it on stdout, as what was asked for."""
    _not_ours(stage)
    answer = stage.env("logs")
    return Answer(1, "", answer.out)


# ---- the local cloud ------------------------------------------------------------------------------------------------


def _home(stage: Stage) -> Path:
    home = stage.two.dir.parent / "home"
    stage.patch.setenv("AURORA_MIGRATIONS_LOCAL", str(home))
    return home


def _cloud(stage: Stage, port: int) -> Access:
    return Access(f"http://127.0.0.1:{port}", "secret", migrations=str(stage.two.dir.resolve()))


def _up(stage: Stage, deploying: str = "200 OK", says: str = '{"started": []}') -> Stage:
    """A local cloud is up, and answers a deployment so; it has one machine, which has run nothing."""

    def answer(client: socket.socket) -> None:
        asked = _request(client)
        if b"ListExecutions" in asked:
            _respond(client, "200 OK", '{"executions": []}')
        elif b"DescribeStacks" in asked:
            _respond(client, "200 OK", STACK)
        else:
            _respond(client, deploying, says)

    port = stage.enter(listening(answer))
    stage.enter(found_by_others(_home(stage), _cloud(stage, port)))
    return stage


def _request(client: socket.socket) -> bytes:
    said = client.recv(1 << 16)
    while b"\r\n\r\n" not in said or (b"Action=" not in said and b"Content-Type: application/x-www-form" in said):
        said += client.recv(1 << 16)
    return said


def _respond(client: socket.socket, status: str, body: str) -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    client.sendall(f"{head}{body}".encode())


def _page(stage: Stage, status: str, text: str) -> Answer:
    """Where the cloud was, another program answers, with a page for people."""

    def answer(client: socket.socket) -> None:
        _request(client)
        _respond(client, status, text)

    port = stage.enter(listening(answer))
    stage.enter(found_by_others(_home(stage), _cloud(stage, port)))
    return stage.call("list", "--local")


def _ended(stage: Stage) -> Answer:
    stage.enter(found_by_others(_home(stage), _cloud(stage, free_port())))
    return stage.call("deploy", "--local")


def _nothing_installed(stage: Stage) -> Answer:
    """In a set-up that has nothing but what the product itself needs."""
    stage.patch.setitem(sys.modules, "aurora_migrations.local.cloud.discovery", None)
    return stage.call("run", "--local")


def _no_home(stage: Stage) -> Answer:
    _home(stage).write_text("a file", encoding="utf-8")
    return stage.call("list", "--local")


def _no_lock(stage: Stage) -> Answer:
    (_home(stage) / "cloud.lock").mkdir(parents=True)
    return stage.call("list", "--local")


CHANGING = '{"error": "PackagingError", "message": "Migrations or sources changed during packaging. Deploy again."}'
ODD_FILE = '{"error": "InvalidFile", "message": "019_broken.sql:1:8: syntax error at end of input"}'
FULL = '{"error": "OSError", "message": "no space is left on the disk"}'
FILES = [
    ("the file is deployed to the local cloud", lambda s: _up(s, "409 Conflict", ODD_FILE).call("deploy", "--local"))
]
SCENES = {
    "LoginMissing": [
        ("there are no credentials", _without_login),
        ("there is no such profile", lambda s: s.env("list", "--profile", "nobody")),
    ],
    "LoginExpired": [
        (
            "the session has expired",
            lambda s: s.aws("GetCallerIdentity", refusal("ExpiredToken", "The security token is expired")),
        ),
        ("the SSO login has expired", lambda s: s.aws("GetCallerIdentity", UnauthorizedSSOTokenError())),
        ("it expires while an execution is followed", _expires_meanwhile),
    ],
    "LoginRefused": [
        (
            "the key is wrong",
            lambda s: s.aws("GetCallerIdentity", refusal("InvalidClientTokenId", "The token is invalid.")),
        )
    ],
    "RegionMissing": [
        ("no region is set", _without_region),
        ("the region's name is invalid", lambda s: s.env("list", "--region", "no region")),
    ],
    "AccessDenied": [
        (
            "the role may not see the stack",
            lambda s: s.aws(
                "DescribeStacks", refusal("AccessDenied", "User: jane is not authorized", "DescribeStacks")
            ),
        ),
        ("the role may not stop an execution", _may_not_stop),
    ],
    "CloudUnreachable": [
        ("the network doesn't reach it", lambda s: s.aws("GetCallerIdentity", UNREACHABLE)),
        ("the reply to a start is lost", _answer_lost),
        ("something else answers at its address", lambda s: _page(s, "200 OK", "<h1>Sign in<p>Hello")),
        ("something that refuses is at its address", lambda s: _page(s, "403 Forbidden", "<h1>Sign in</h1>")),
    ],
    "CloudRefused": [
        (
            "a refusal of another kind",
            lambda s: s.aws("DescribeStacks", refusal("OptInRequired", "Not subscribed.", "DescribeStacks")),
        ),
        ("boto3 itself refuses", lambda s: s.aws("DescribeStacks", ODD)),
    ],
    "StackNotFound": [
        ("there is no environment", lambda s: s.env("run")),
        ("another environment exists", _elsewhere),
        ("it has several databases", _several),
    ],
    "StackNotReady": [
        ("its first deployment hasn't finished", _not_ready),
        ("something else created the stack", _of_others),
    ],
    "ExecutionNotFound": [
        ("the name is wrong", _no_execution),
        ("there has been no run", _no_run_yet),
        ("there has been no run in the local cloud", lambda s: _up(s).call("logs", "--local")),
    ],
    "ExecutionFailed": [
        ("an error that doesn't come from a migration", _not_ours),
        ("the same, in its log", _in_its_log),
        ("an answer in an unknown form", _odd_answer),
        ("an answer without a required key", _older_answer),
        ("the execution took too long", _too_long),
    ],
    "LocalCloudFailed": [
        ("what it needs isn't installed", _nothing_installed),
        ("its folder can't be created", _no_home),
        ("its lock can't be opened", _no_lock),
        ("the package can't be built", lambda s: _up(s, "409 Conflict", CHANGING).call("deploy", "--local")),
        ("the local cloud fails", lambda s: _up(s, "500 Internal Server Error", FULL).call("deploy", "--local")),
        (
            "another program listens on its port",
            lambda s: _up(s, "502 Bad Gateway", "<h1>no</h1>").call("deploy", "--local"),
        ),
        ("the local cloud has ended", _ended),
        ("the event started nothing", lambda s: _up(s).call("deploy", "--local")),
    ],
}
