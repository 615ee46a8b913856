"""A stand-in for Slack's Web API over HTTP; misbehaves on request: hangs, is slow, limits, fails or refuses.

Run as `python -m deployments.lab.slack_server PORT LOG TOKEN_FILE`; tests use `serve`."""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from deployments.lab.slack_page import page
from deployments.lab.slack_rules import RateLimitedError, SlackError, Workspace

CHANNELS = {"C0DRLAB": "disaster-recovery"}
TOKEN = "xoxb-lab"  # of stand-ins that tests serve


class Behaviour(StrEnum):
    NORMAL = "normal"
    HANG = "hang"  # no answer until the behaviour changes
    SLOW = "slow"  # the right answer, late
    RATE_LIMITED = "rate_limited"  # 429 to everything
    FAILING = "failing"  # 500
    REFUSING = "refusing"  # invalid_auth


@dataclass(frozen=True)
class Conduct:
    behaviour: Behaviour = Behaviour.NORMAL
    seconds: float = 3  # how slow; or the Retry-After


class Server(ThreadingHTTPServer):
    daemon_threads = True  # a hanging request must not keep the process
    request_queue_size = 64

    def __init__(self, port: int, workspace: Workspace) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.workspace = workspace
        self.conduct = Conduct()
        self._changed = threading.Condition()

    def misbehave(self, conduct: Conduct) -> None:
        with self._changed:
            self.conduct = conduct
            self._changed.notify_all()

    def hold(self, conduct: Conduct, seconds: float | None) -> None:
        """Wait out *seconds*, or with None for ever; a change of conduct ends it."""
        with self._changed:
            self._changed.wait_for(lambda: self.conduct != conduct, timeout=seconds)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if urlsplit(self.path).path == "/":
            self._send(200, page(self.server.workspace.messages()).encode(), "text/html; charset=utf-8")
        else:
            self._api()

    def do_POST(self) -> None:
        if urlsplit(self.path).path == "/control":
            given = self._given()
            self.server.misbehave(Conduct(Behaviour(given["behaviour"]), float(given.get("seconds", 3))))
            self._json(200, {"ok": True})
        else:
            self._api()

    def _api(self) -> None:
        given, conduct = self._given(), self.server.conduct
        if conduct.behaviour is Behaviour.HANG:
            self.server.hold(conduct, None)
        if conduct.behaviour is Behaviour.SLOW:
            self.server.hold(conduct, conduct.seconds)
        if conduct.behaviour is Behaviour.FAILING:
            self._json(500, {"ok": False, "error": "internal_error"})
            return
        try:
            self._json(200, self._answer(given, conduct))
        except SlackError as error:
            self._json(200, error.answer)
        except RateLimitedError as limited:
            self._json(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(limited.retry_after_seconds)})

    def _answer(self, given: dict[str, Any], conduct: Conduct) -> dict[str, Any]:
        if conduct.behaviour is Behaviour.RATE_LIMITED:
            raise RateLimitedError(retry_after_seconds=int(conduct.seconds))
        if conduct.behaviour is Behaviour.REFUSING:
            raise SlackError("invalid_auth")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or str(given.get("token", ""))
        return self.server.workspace.call(urlsplit(self.path).path.removeprefix("/api/"), token, given)

    def _given(self) -> dict[str, Any]:
        """Arguments from the query, and from a body of JSON or a form: Slack takes them all."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        given: dict[str, Any] = dict(parse_qsl(urlsplit(self.path).query))
        if "json" in self.headers.get("Content-Type", ""):
            given.update(json.loads(body or "{}"))
        else:
            given.update(parse_qsl(body))
        return given

    def _json(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(answer).encode(), "application/json; charset=utf-8", headers)

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:
            return  # the client gave up, as a client of a hanging server should

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The log of messages says more."""


@dataclass(frozen=True)
class Running:
    """A stand-in that serves. `url` is what WebClient takes as base_url."""

    server: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/api/"

    def messages(self) -> list[dict[str, Any]]:
        return self.server.workspace.messages()

    def misbehave(self, behaviour: Behaviour, seconds: float = 3) -> None:
        self.server.misbehave(Conduct(behaviour, seconds))


@contextmanager
def serve(log: Path, port: int = 0, token: str = TOKEN) -> Iterator[Running]:
    """A stand-in on loopback for as long as the block lasts; port 0 takes a free one."""
    with Server(port, Workspace(log, frozenset({token}), CHANNELS)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Running(server)
        finally:
            server.misbehave(Conduct())
            server.shutdown()
            thread.join()


def main(port: int, log: Path, token: Path) -> None:
    with Server(port, Workspace(log, frozenset({token.read_text()}), CHANNELS)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
