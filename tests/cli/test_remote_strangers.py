"""What answers isn't AWS: a proxy's page, or another program at the address of a local cloud that has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from aurora_migrations.cli.output import Display
from aurora_migrations.cli.remote import aws_errors as errors
from aurora_migrations.cli.remote.aws_errors import aws_errors
from aurora_migrations.cli.remote.environment import Environment, Execution
from aurora_migrations.cli.remote.progress import Follower
from aurora_migrations.local.cloud.discovery import Access, found_by_others
from tests.cli.conftest import Call
from tests.servers import Migrations

HTML = "<!doctype html><title>Sign in</title><p>Hello<br>world \x1b[31m"
PAGES = [
    pytest.param(200, HTML.encode(), id="a page"),
    pytest.param(200, b"<html><body>well formed</body></html>", id="a page that is XML"),
    pytest.param(200, b"", id="nothing"),
    pytest.param(200, b"\xff\xfe", id="bytes"),
    pytest.param(403, HTML.encode(), id="a page that refuses"),
    pytest.param(403, b"<html><body>well formed</body></html>", id="one that is XML"),
]
Stranger = Callable[[int, bytes], str]
RUN = "arn:aws:states:eu-west-1:123456789012:execution:ours:1"


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    """A web server that knows nothing of AWS, and answers everything with the same page; returns its address."""
    page: list[tuple[int, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = page[0]
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(status: int, text: bytes) -> str:
        page[:] = [(status, text)]
        return f"http://127.0.0.1:{server.server_port}"

    yield answer
    server.shutdown()
    server.server_close()


@pytest.fixture
def environment(stranger: Stranger) -> Environment:
    """An environment at the stranger's address. No call is made twice, as nothing here passes by itself."""
    url = stranger(200, b"")
    session = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name="eu-west-1")
    made = Environment("dev", session, url)
    for service in ("sts", "cloudformation", "stepfunctions", "logs"):
        config = Config(retries={"total_max_attempts": 1})
        made._clients[service] = session.client(service, endpoint_url=url, config=config)
    made.__dict__["outputs"] = {"StateMachineArn": RUN.replace(":execution:", ":stateMachine:").removesuffix(":1")}
    return made


@pytest.mark.parametrize(("status", "text"), PAGES)
def test_whatever_is_asked_it_is_said_that_this_is_not_aws(
    environment: Environment, stranger: Stranger, status: int, text: bytes
) -> None:
    stranger(status, text)
    asked: list[Callable[[], object]] = [
        lambda: environment.identity,
        lambda: environment.described,
        lambda: environment.start("x", {}),
        lambda: Follower(environment, _begun(environment), Display()).to_the_end(),
    ]
    for ask in asked:
        with pytest.raises(errors.CloudUnreachable, match=r"^The answer didn't come from AWS\. \(.+\)$") as told:
            ask()
        assert told.value.message.isprintable()
        assert "AWS_ENDPOINT_URL" in told.value.solution
    assert told.value.state == "The execution 1 has been started and is still running."


def _begun(environment: Environment) -> Execution:
    """One that was started before the stranger came."""
    return Execution(RUN, "1", "RUNNING", datetime.now(UTC), {})


def test_aws_itself_out_of_order_is_called_otherwise(environment: Environment, stranger: Stranger) -> None:
    stranger(503, b"<html>Service Unavailable</html>")
    with pytest.raises(errors.CloudRefused, match="AWS refused DescribeExecution: 503"), aws_errors():
        environment.read(RUN)


def test_terminal_is_told_what_to_do(stranger: Stranger, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", stranger(200, HTML.encode()))
    answer = call("list", "--env", "dev", "--region", "eu-west-1")
    assert answer.code == 1
    assert "CloudUnreachable: The answer didn't come from AWS. (ResponseParserError: " in answer.err
    assert "  State  Nothing was changed.\n" in answer.err
    assert "  Next   aurora-migrations doctor --env dev --region eu-west-1\n" in answer.err


def test_address_of_a_local_cloud_that_another_program_has_taken(
    stranger: Stranger, call: Call, here: Migrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURORA_MIGRATIONS_LOCAL", str(tmp_path / "home"))
    with found_by_others(tmp_path / "home", Access(stranger(200, HTML.encode()), "secret")):
        answer = call("list", "--local")
    assert answer.code == 1
    assert "CloudUnreachable: The answer didn't come from AWS." in answer.err
    assert "start it again" in answer.err
