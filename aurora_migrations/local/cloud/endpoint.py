"""The HTTP server of the local cloud: every AWS call arrives here, is authorized, and answered here or by moto."""

from __future__ import annotations

import hmac
import io
import json
import logging
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from moto import backends
from moto.core.config import default_user_config
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.datastructures import EnvironHeaders
from werkzeug.serving import ThreadedWSGIServer

from aurora_migrations.local.account import ACCOUNT, KEY, PARTITION, key_of
from aurora_migrations.local.cloud.console import INBOX, PREFIX, Console
from aurora_migrations.local.cloud.services import iam
from aurora_migrations.local.cloud.services.eventbridge import Bus
from aurora_migrations.local.cloud.services.iam import Call, Refused, is_from_a_web_page, is_signed, read_call
from aurora_migrations.local.cloud.services.lambda_functions import Functions
from aurora_migrations.local.cloud.services.stepfunctions import Executions, connect_interpreter, with_execution_name

Respond = Callable[..., Any]
backends.list_of_moto_modules = cache(partial(tuple, backends.list_of_moto_modules()))  # moto lists it for every call
_NO_WEB_PAGES = "The local cloud doesn't answer web pages. Open its inbox by the address that `up` prints.\n"
_WRONG_KEY = (
    "This request isn't signed with the keys of this local cloud. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to "
    "those that `aurora-migrations up` prints; every start makes a new secret key.\n"
)


@dataclass(frozen=True)
class Made:
    """A call by a function, or by Lambda for it: its resource, and whether the function's role allows it."""

    role: str
    action: str
    resource: str
    allowed: bool


class Endpoint:
    """The server. Where calls go is set before the first call."""

    functions: Functions
    executions: Executions
    bus: Bus
    console: Console

    def __init__(self) -> None:
        default_user_config["stepfunctions"]["execute_state_machine"] = True
        for noisy in ("werkzeug", "moto"):  # they log requests and failed executions, which are reported elsewhere
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        self.made: list[Made] = []  # every call by a function
        self.secret = secrets.token_hex(
            20
        )  # requests are signed with it; of 40 characters, like AWS's; needs no quotes in a shell
        self._inbox_key = secrets.token_hex(16)  # part of a URL, so it must open nothing else
        self._roles: dict[str, str] = {}
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = _Server("127.0.0.1", 0, self, MotoRequestHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        connect_interpreter(self.url, self.secret)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def inbox(self) -> str:
        """The URL of the inbox, for a browser."""
        return f"{self.url}{INBOX}?key={self._inbox_key}"

    def register_role(self, role_arn: str) -> None:
        """Accepts calls signed with this role's key, as far as its policies allow them."""
        self._roles[key_of(role_arn)] = role_arn

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __call__(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        header = EnvironHeaders(environ).get
        if is_from_a_web_page(header, self._server.server_port):
            return _respond(respond, "403 Forbidden", "text/plain; charset=utf-8", _NO_WEB_PAGES)
        call = read_call(environ)
        known = call.key == KEY or call.key in self._roles
        key = call.query.get("key", [""])[0]
        reads_inbox = call.path == INBOX and hmac.compare_digest(key.encode(), self._inbox_key.encode())
        if not (known and is_signed(call, environ, header, self.secret)) and not reads_inbox:
            return _respond(respond, "403 Forbidden", "text/plain; charset=utf-8", _WRONG_KEY)
        if call.path.startswith(PREFIX):
            page = self.console.answer(environ["REQUEST_METHOD"], call.path)
            return _respond(respond, page.status, f"{page.kind}; charset=utf-8", page.text)
        denied = self._denied(call)
        if denied is not None:
            return _respond_json(respond, "400 Bad Request", denied)
        if call.action == "InvokeFunction":
            return self._invoke(environ, respond, call)
        try:
            if call.name == "events:PutEvents":
                return _respond_json(respond, "200 OK", self.bus.put_entries(call.parameters.get("Entries")))
            if call.name == "states:StopExecution":
                asked = call.parameters
                stopped = self.executions.stop(str(asked.get("executionArn")), asked.get("error"), asked.get("cause"))
                return _respond_json(respond, "200 OK", stopped)
            if call.name == "states:StartExecution":
                return self._start_execution(environ, respond, call)
        except Refused as refused:
            return _respond_json(respond, "400 Bad Request", {"__type": refused.code, "message": refused.message})
        answer: Iterable[bytes] = self._moto(environ, respond)
        return answer

    def _invoke(self, environ: dict[str, Any], respond: Respond, call: Call) -> Iterable[bytes]:
        """As Lambda: an asynchronous call is answered at once, and one of an unknown function with 404."""
        try:
            deployed = self.functions.find(call.function)
        except LookupError as error:
            why = {"Type": "User", "Message": str(error)}
            return _respond_json(respond, "404 Not Found", why, ("x-amzn-ErrorType", "ResourceNotFoundException"))
        if environ.get("HTTP_X_AMZ_INVOCATION_TYPE") == "Event":
            threading.Thread(target=self.functions.invoke, args=(call.function, call.body), daemon=True).start()
            return _respond_json(respond, "202 Accepted", {})
        answer = self.functions.invoke(call.function, call.body)
        failed = [("X-Amz-Function-Error", "Unhandled")] if answer.failed else []
        version = ("X-Amz-Executed-Version", str(deployed.version))
        return _respond(respond, "200 OK", "application/json", answer.body, version, *failed)

    def _denied(self, call: Call) -> dict[str, str] | None:
        """AWS's error, if the caller is a function whose role doesn't allow the call."""
        role = self._roles.get(call.key)
        if role is None:
            return None
        resource = iam.resource_of(call)
        allowed = iam.allows(policies_of(role), call.name, resource)
        self.made.append(Made(role, call.name, resource, allowed))
        if allowed:
            return None
        user = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rpartition('/')[2]}/local"
        return {
            "__type": "AccessDeniedException",
            "Message": f"User: {user} is not authorized to perform: {call.name} on resource: {resource} because no "
            f"identity-based policy allows the {call.name} action",
        }

    def _start_execution(self, environ: dict[str, Any], respond: Respond, call: Call) -> Iterable[bytes]:
        body = with_execution_name(call.body)
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        answer = b"".join(self._moto(environ, respond))
        arn = json.loads(answer).get("executionArn")
        if arn:
            self.executions.watch(arn)
        return [answer]


class _Server(ThreadedWSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints no traceback about a client that is gone or doesn't speak HTTP."""
        if not isinstance(sys.exception(), (OSError, ValueError)):
            super().handle_error(request, client_address)


def policies_of(role_arn: str) -> list[dict[str, Any]]:
    """A role's policies, as they were deployed or changed since."""
    role = iam_backends[ACCOUNT][PARTITION].get_role_by_arn(role_arn)
    return [json.loads(text) for text in role.policies.values()]


def _respond_json(
    respond: Respond, status: str, document: Mapping[str, Any], *more: tuple[str, str]
) -> Iterable[bytes]:
    return _respond(respond, status, "application/x-amz-json-1.1", json.dumps(document), *more)


def _respond(respond: Respond, status: str, kind: str, text: str | bytes, *more: tuple[str, str]) -> Iterable[bytes]:
    body = text.encode() if isinstance(text, str) else text
    respond(status, [("Content-Type", kind), *more, ("Content-Length", str(len(body)))])
    return [body]
