"""The API server: who asks, what for, and may they."""

from __future__ import annotations

import json
import select
from typing import Any

from tests.fakes import discovery, execs, networks, objects_api, statuses, watches
from tests.fakes.application import Application
from tests.fakes.core import Core
from tests.fakes.http_server import Answer, Dropped, Handler, Server, as_json
from tests.fakes.kinds import NAMESPACES, PODS, REVIEWS
from tests.fakes.rbac import Asked
from tests.fakes.recording import Exchange
from tests.fakes.routes import Target, parse
from tests.fakes.statuses import ApiError
from tests.fakes.websockets import WebSocket, accept

_OPEN = ("/healthz", "/livez", "/readyz", "/version")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class ApiServer(Server):
    core: Core
    application: Application
    users: dict[str, str]  # token → user


class ApiHandler(Handler):
    server: ApiServer

    def user(self) -> str:
        """By the token; the administrator may speak as anybody."""
        user = self.server.users.get(self.headers.get("Authorization", "").removeprefix("Bearer "), "")
        return self.headers.get("Impersonate-User", user) if user == objects_api.ADMIN else user

    def work(self, one: Exchange, body: bytes) -> Answer | None:
        try:
            return self._answered(one, body)
        except ApiError as error:
            return as_json(error.body, error.code)

    def _answered(self, one: Exchange, body: bytes) -> Answer | None:
        if one.path in _OPEN[:3]:
            return Answer(200, b"ok", "text/plain")
        if not one.user:
            raise statuses.unauthorized()
        gone = self.server.core.settings.kinds_gone
        if (found := discovery.answer(one.path, gone)) is not None:
            return as_json(found)
        target = parse(one.path, one.query)
        if target.resource.full in gone:
            raise statuses.no_such_path()
        one.dry_run = target.dry_run
        self._authorize(one, target)
        if target.subresource in ("exec", "proxy", "log"):
            return self._connect(one, target, body)
        if one.method == "GET" and target.ask("watch") in ("1", "true"):
            one.status = 200
            self.record(one)
            self._watch(target)
            return None
        return self._changed(one, target, body)

    def _authorize(self, one: Exchange, target: Target) -> None:
        if target.resource == REVIEWS:
            return  # system:basic-user: anybody may ask about themselves
        self._must_be_allowed(one.user, _VERBS.get(one.method) or self._reading(one, target), target)
        if target.subresource == "exec" and one.method == "GET":
            self._must_be_allowed(one.user, "create", target)  # since 1.35 by WebSocket, too

    def _must_be_allowed(self, user: str, verb: str, target: Target) -> None:
        resource, sub, name = target.resource, target.subresource or "", target.name or ""
        namespace = name if resource == NAMESPACES else target.namespace or ""  # a namespace is in itself
        if not objects_api.denied(
            self.server.core, Asked(user, verb, resource.group, resource.plural, sub, namespace, name)
        ):
            return
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        full = f"{resource.plural}/{sub}" if sub else resource.plural
        why = f'User "{user}" cannot {verb} resource "{full}" in API group "{resource.group}" {where}'
        raise statuses.forbidden(resource, target.name or "", why)

    def _reading(self, one: Exchange, target: Target) -> str:
        if one.method == "DELETE":
            return "delete" if target.name else "deletecollection"
        if target.name:
            return "get"
        return "watch" if target.ask("watch") in ("1", "true") else "list"

    def _changed(self, one: Exchange, target: Target, body: bytes) -> Answer:
        core, method = self.server.core, one.method
        kind = self.headers.get("Content-Type", "application/json").split(";")[0]
        content: Any = objects_api.parsed(body)
        match method, target.name is not None:
            case "GET", True:
                return objects_api.get(core, target)
            case "GET", False:
                return objects_api.listing(core, target)
            case "POST", False if "create" in target.resource.verbs:
                return objects_api.create(core, target, content, one.user)
            case "PUT", True:
                return objects_api.update(core, target, content)
            case "PATCH", True:
                return objects_api.patch(core, target, content, kind)
            case "DELETE", True:
                return objects_api.delete(core, target, content)
            case "DELETE", False:
                return objects_api.delete_all(core, target)
        raise statuses.not_allowed()

    def _watch(self, target: Target) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for line in watches.events(self.server.core, target):
            if line:
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            elif self._left():
                raise Dropped
        self.wfile.write(b"0\r\n\r\n")

    def _left(self) -> bool:
        """Whether the client has closed its end."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1)

    def _connect(self, one: Exchange, target: Target, body: bytes) -> Answer | None:
        core = self.server.core
        if target.resource != PODS:
            raise statuses.not_allowed()
        name, _, port = (target.name or "").partition(":") if target.subresource == "proxy" else (target.name, "", "")
        pod = core.store.get(PODS, target.namespace or "", name or "")
        if target.subresource == "log":
            return Answer(200, b"", "text/plain")
        if target.subresource == "exec":
            self._exec(one, target, pod)
            return None
        return self.server.application.through_proxy(pod, port, one.method, "/" + target.rest, target.query, body)

    def _exec(self, one: Exchange, target: Target, pod: dict[str, Any]) -> None:
        if "websocket" not in self.headers.get("Upgrade", "").lower():
            raise statuses.bad_request("you must specify at least 1 of stdin, stdout, stderr; upgrade request required")
        chosen = execs.protocol(self.headers.get("Sec-WebSocket-Protocol", ""))
        execs.check(pod, target)
        one.status, one.body = 101, json.dumps(target.query.get("command", []))
        self.record(one)
        self.close_connection = True
        self.wfile.write(accept(self.headers["Sec-WebSocket-Key"], chosen))
        command = networks.inside(self.server.core, pod, target.query["command"])
        execs.serve(WebSocket(self.rfile, self.wfile), command)  # type: ignore[arg-type]
