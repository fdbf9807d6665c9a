"""`deploy --local` beside a local cloud that is up: what it says when that doesn't do what it should."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aurora_migrations.cli.remote.aws_errors import LocalCloudFailed
from aurora_migrations.cli.verbs import deploy
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.local.cloud.console import Console, Page
from aurora_migrations.local.cloud.discovery import Access, found_by_others
from aurora_migrations.local.cloud.services.eventbridge import Sent
from tests.cli.conftest import Call
from tests.servers import Migrations

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:ours"
RUN = "arn:aws:states:us-east-1:123456789012:execution:ours:1"
OTHER = "arn:aws:states:us-east-1:123456789012:execution:other:2"
Answering = Callable[[Callable[[], Page | Sent]], str]


@pytest.fixture
def answering(tmp_path: Path, here: Migrations, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answering]:
    """A cloud that is up and answers a deployment with that page, or as its console does; returns its address."""
    monkeypatch.setenv("AURORA_MIGRATIONS_LOCAL", str(tmp_path / "home"))
    what: list[Callable[[], Page | Sent]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            page = _page(what[0], self.path)
            self.send_response(*_status(page))
            self.end_headers()
            self.wfile.write(page.text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"

    def answer(does: Callable[[], Page | Sent]) -> str:
        what[:] = [does]
        return url

    with found_by_others(tmp_path / "home", Access(url, "secret", migrations=str(here.dir.resolve()))):
        yield answer
    server.shutdown()
    server.server_close()


def _page(does: Callable[[], Page | Sent], path: str) -> Page:
    def deployed() -> Sent:
        result = does()
        assert isinstance(result, Sent)
        return result

    if does.__name__ == "whatever":
        result = does()
        assert isinstance(result, Page)
        return result
    return Console(deployed, deployed, list, str).answer("POST", path)


def _status(page: Page) -> tuple[int, str]:
    code, _, words = page.status.partition(" ")
    return int(code), words


def whatever() -> Page:
    return Page("502 Bad Gateway", "text/html", "<h1>no JSON</h1>")


def odd_file() -> Sent:
    raise InvalidFile("019_broken.sql:1:8: it can't be read.")


def broken() -> Sent:
    raise RuntimeError("a disk that is full")


@pytest.mark.parametrize(
    ("does", "told"),
    [
        (odd_file, ["InvalidFile: 019_broken.sql:1:8", "deployed before stays"]),
        (broken, ["could not deploy: RuntimeError: a disk that is full.", "start it again"]),
        (whatever, ["could not deploy: HTTP 502 Bad Gateway."]),
    ],
)
def test_refusal_is_told_in_the_words_of_the_cloud(
    answering: Answering, call: Call, does: Callable[[], Page | Sent], told: list[str]
) -> None:
    answering(does)
    answer = call("deploy", "--local")
    assert answer.code == 1
    assert answer.out == ""
    assert all(words in answer.err for words in told), answer.err


def test_neither_proxy_nor_profile_is_in_the_way(
    answering: Answering, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = answering(lambda: Sent("1", (RUN,)))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_PROFILE", "nope")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert deploy.started(url, "secret") == [RUN]
    answering(broken)
    assert "a disk that is full" in call("deploy", "--local").err


def test_silence_and_absence_are_told(answering: Answering, call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(LocalCloudFailed, match=r"didn't answer as it should: timed out\."):
            deploy.started(url, "secret", patience_s=0.2)
    with pytest.raises(LocalCloudFailed, match="Connection refused"):
        deploy.started(url, "secret")


def test_run_of_ours_is_followed_among_several() -> None:
    assert list(deploy.ours_first(MACHINE, [OTHER, RUN])) == [RUN, OTHER]
    for none in ([], [OTHER]):
        with pytest.raises(LocalCloudFailed, match="started no execution") as error:
            deploy.ours_first(MACHINE, none)
        assert "disabled" in error.value.cause


def test_on_aws_the_cdk_deploys_by_the_name_of_the_stack(call: Call) -> None:
    """Neither the stack nor the context follows from what `--env` takes: prod-shop may be a project's, or a
    database's."""
    answer = call("deploy", "--env", "prod-shop")
    assert answer.code == 2
    assert answer.err.endswith(
        "error: on AWS the CDK deploys: npx aws-cdk@2 deploy STACK (npx aws-cdk@2 ls names them)\n"
    )
