"""The one address of the local cloud: every AWS call arrives here, and is checked, answered or handed to moto."""

from __future__ import annotations

import hmac
import io
import json
import logging
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
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
from aurora_migrations.local.cloud.console import INBOX, PREFIX, Console, Page
from aurora_migrations.local.cloud.lambda_service.runtime_api import Answer
from aurora_migrations.local.cloud.lambda_service.service import Functions
from aurora_migrations.local.cloud.services import iam
from aurora_migrations.local.cloud.services.callers import is_from_a_web_page, is_signed, new_secret
from aurora_migrations.local.cloud.services.eventbridge import Bus
from aurora_migrations.local.cloud.services.iam import Call, Refused, read_call
from aurora_migrations.local.cloud.services.stepfunctions import Executions, call_services_at, named

Respond = Callable[..., Any]
backends.list_of_moto_modules = cache(partial(tuple, backends.list_of_moto_modules()))  # moto lists it for every call
_JSON = [("Content-Type", "application/x-amz-json-1.1")]
_NOT_FOUND = [("x-amzn-ErrorType", "ResourceNotFoundException")]
_NO_WEB_PAGES = "The local cloud doesn't answer web pages. Open its inbox by the address that `up` prints.\n"
_WRONG_KEY = (
    "This request isn't signed with the keys of this local cloud. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to "
    "those that `aurora-migrations up` prints; every start makes a new secret key.\n"
)


@dataclass(frozen=True)
class Made:
    """A call that a function made, or Lambda in its name: on which resource, and whether its role allows that."""

    role: str
    action: str
    resource: str
    allowed: bool


class Endpoint:
    """The server.

    Attributes:
        url: its address.
        secret: the secret key that requests must be signed with.
        made: every call in the name of a function.
        functions, executions, bus, console: what it leads to; set before the first call.
    """

    functions: Functions
    executions: Executions
    bus: Bus
    console: Console

    def __init__(self) -> None:
        default_user_config["stepfunctions"]["execute_state_machine"] = True
        for noisy in ("werkzeug", "moto"):  # requests, and failures of executions, which the executions tell themselves
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        self.made: list[Made] = []
        self.secret = new_secret()
        self._inbox_key = secrets.token_hex(16)  # it stands in an address, so it must open nothing else
        self._roles: dict[str, str] = {}
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = _Server("127.0.0.1", 0, self, MotoRequestHandler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        call_services_at(self.url, self.secret)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def inbox(self) -> str:
        """The address of the inbox, for a browser."""
        return f"{self.url}{INBOX}?key={self._inbox_key}"

    def knows(self, role_arn: str) -> None:
        """Calls signed with this role's key are held against its policies."""
        self._roles[key_of(role_arn)] = role_arn

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()

    def __call__(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        header = EnvironHeaders(environ).get
        if is_from_a_web_page(header, self._server.server_port):
            return _paged(respond, Page("403 Forbidden", "text/plain", _NO_WEB_PAGES))
        call = read_call(environ)
        known = call.key == KEY or call.key in self._roles
        if not (known and is_signed(call, environ, header, self.secret)) and not self._may_read_inbox(call):
            return _paged(respond, Page("403 Forbidden", "text/plain", _WRONG_KEY))
        if call.path.startswith(PREFIX):
            return _paged(respond, self.console.answer(environ["REQUEST_METHOD"], call.path))
        denied = self._denied(call)
        if denied is not None:
            return _reply(respond, "400 Bad Request", denied)
        if call.action == "InvokeFunction":
            return self._invoked(environ, respond, call)
        try:
            if call.name == "events:PutEvents":
                return _reply(respond, "200 OK", self.bus.put_entries(call.parameters.get("Entries")))
            if call.name == "states:StopExecution":
                return _reply(respond, "200 OK", self.executions.stop(**_stop(call)))
            if call.name == "states:StartExecution":
                return self._started(environ, respond, call)
        except Refused as refused:
            return _reply(respond, "400 Bad Request", {"__type": refused.code, "message": refused.message})
        answer: Iterable[bytes] = self._moto(environ, respond)
        return answer

    def _may_read_inbox(self, call: Call) -> bool:
        key = call.query.get("key", [""])[0]
        return call.path == INBOX and hmac.compare_digest(key.encode(), self._inbox_key.encode())

    def _invoked(self, environ: dict[str, Any], respond: Respond, call: Call) -> Iterable[bytes]:
        """As Lambda answers: at once to an asynchronous call, with 404 for a function that isn't there."""
        try:
            deployed = self.functions.find(call.function)
        except LookupError as error:
            return _reply(respond, "404 Not Found", {"Type": "User", "Message": str(error)}, _NOT_FOUND)
        if environ.get("HTTP_X_AMZ_INVOCATION_TYPE") == "Event":
            threading.Thread(target=self.functions.invoke, args=(call.function, call.body), daemon=True).start()
            return _reply(respond, "202 Accepted", {})
        return _answered(respond, self.functions.invoke(call.function, call.body), str(deployed.version))

    def _denied(self, call: Call) -> dict[str, str] | None:
        """AWS's own words, if the caller is a function whose role doesn't allow the call."""
        role = self._roles.get(call.key)
        if role is None:
            return None
        resource = iam.resource_of(call, ACCOUNT)
        allowed = iam.allows(policies_of(role), call.name, resource, {})
        name = role.rpartition("/")[2]
        self.made.append(Made(role, call.name, resource, allowed))
        if allowed:
            return None
        told = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{name}/local is not authorized to perform: {call.name} on "
        why = f"resource: {resource} because no identity-based policy allows the {call.name} action"
        return {"__type": "AccessDeniedException", "Message": told + why}

    def _started(self, environ: dict[str, Any], respond: Respond, call: Call) -> Iterable[bytes]:
        body = named(call.body)
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        answer = b"".join(self._moto(environ, respond))
        arn = json.loads(answer).get("executionArn")
        if arn:
            self.executions.began(arn)
        return [answer]


class _Server(ThreadedWSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Doesn't print a traceback about a client that is gone or doesn't speak HTTP: there is nothing to do here."""
        if not isinstance(sys.exception(), (OSError, ValueError)):
            super().handle_error(request, client_address)


def policies_of(role_arn: str) -> list[dict[str, Any]]:
    """A role's policies, as they were deployed or changed since."""
    role = iam_backends[ACCOUNT][PARTITION].get_role_by_arn(role_arn)
    return [json.loads(text) for text in role.policies.values()]


def _stop(call: Call) -> dict[str, Any]:
    asked = call.parameters
    return {"arn": str(asked.get("executionArn")), "error": asked.get("error"), "cause": asked.get("cause")}


def _answered(respond: Respond, answer: Answer, version: str) -> Iterable[bytes]:
    headers = [("Content-Type", "application/json"), ("X-Amz-Executed-Version", version)]
    if answer.failed:
        headers.append(("X-Amz-Function-Error", "Unhandled"))
    respond("200 OK", [*headers, ("Content-Length", str(len(answer.body)))])
    return [answer.body]


def _paged(respond: Respond, page: Page) -> Iterable[bytes]:
    body = page.text.encode()
    respond(page.status, [("Content-Type", f"{page.kind}; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


def _reply(
    respond: Respond, status: str, document: dict[str, Any], more: Sequence[tuple[str, str]] = ()
) -> Iterable[bytes]:
    body = json.dumps(document).encode()
    respond(status, [*_JSON, *more, ("Content-Length", str(len(body)))])
    return [body]
