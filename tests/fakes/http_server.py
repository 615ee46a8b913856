"""What all HTTP servers of the fake world share: who asks, recording, faults, one write per answer."""

from __future__ import annotations

import json
import ssl
import sys
import time
from dataclasses import dataclass, field
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from tests.fakes import clock
from tests.fakes.faults import Fault, Faults
from tests.fakes.recording import Exchange, Log, exchange

IDLE_SECONDS = 300


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    uid: str | None = None


def as_json(body: Any, status: int = 200, uid: str | None = None) -> Answer:
    return Answer(status, json.dumps(body).encode(), uid=uid)


class Dropped(Exception):
    """The connection is to be closed without an answer."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, name: str, handler: type[Handler], log: Log, faults: Faults, port: int = 0) -> None:
        self.name, self.log, self.faults = name, log, faults
        self.tls: ssl.SSLContext | None = None
        super().__init__(("127.0.0.1", port), handler)

    def server_bind(self) -> None:
        """Without the look-up of our own name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is what this world is for; anything else is shown."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError, ssl.SSLError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def setup(self) -> None:
        if self.server.tls is not None:  # here, in the request's own thread: a slow handshake stops nobody else
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def user(self) -> str:
        return ""

    def work(self, one: Exchange, body: bytes) -> Answer | None:
        """Do what is asked; None when it answered by itself. Raises: Dropped."""
        raise NotImplementedError

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        agent = self.headers.get("User-Agent", "")
        one = exchange(self.server.name, self.command, url.path, url.query, self.user(), agent, body)
        try:
            self._answer(one, body)
        except Dropped:
            self.close_connection = True

    def _answer(self, one: Exchange, body: bytes) -> None:
        fault = self.server.faults.hit(one)
        one.fault = fault.id if fault else None
        if fault and not fault.after_work and (instead := self._suffer(fault, one)):
            self.send(instead)
            return
        answer = self.work(one, body)
        if answer is None:
            return
        one.status, one.uid = answer.status, answer.uid
        self.record(one)
        if fault and fault.after_work:
            answer = self._suffer(fault) or answer
        self.send(answer)

    def _suffer(self, fault: Fault, unrecorded: Exchange | None = None) -> Answer | None:
        """Raises: Dropped. An answer that replaces the real one, or None to go on."""
        if fault.act in ("status", "close") and unrecorded:
            self.record(unrecorded)
        if fault.act == "close":
            raise Dropped
        if fault.act == "hang":
            self.server.faults.hold(fault)
        if fault.act == "delay":
            time.sleep(fault.seconds or 0)
        if fault.act != "status":
            return None
        said = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": fault.status,
                "message": responses.get(fault.status, "fault"), "reason": _reason(fault.status)}  # fmt: skip
        return Answer(fault.status, json.dumps(fault.body or said).encode(), headers=fault.headers)

    def record(self, one: Exchange) -> None:
        self.server.log.write(one)

    def send(self, answer: Answer) -> None:
        body = b"" if self.command == "HEAD" else answer.body
        headers = {"Content-Type": answer.kind, "Content-Length": str(len(answer.body)),
                   "Date": self.date_time_string(clock.seconds())} | answer.headers  # fmt: skip
        lines = [f"HTTP/1.1 {answer.status} {responses.get(answer.status, '')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.close_connection = self.close_connection or headers.get("Connection") == "close"
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def log_message(self, format: str, *args: Any) -> None:
        """The record of requests says more."""


for _method in ("POST", "PUT", "PATCH", "DELETE", "HEAD"):
    setattr(Handler, f"do_{_method}", Handler.do_GET)


def _reason(status: int) -> str:
    known = {401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired",
             422: "Invalid", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable",
             504: "Timeout"}  # fmt: skip
    return known.get(status, "Unknown")
