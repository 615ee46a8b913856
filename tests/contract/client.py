"""The plainest client: HTTP and WebSocket as they are on the wire, so that nothing smooths over a difference."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
import websocket
import yaml

T = TypeVar("T")
WATCHED_SECONDS = 280  # the lab's Velero takes one thing at a time, and somebody else's may come first
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True)
class Ran:
    """`status` is what the API said on its error channel, `code` the status of the handshake."""

    stdout: bytes
    stderr: bytes
    status: dict[str, Any]
    code: int


class Client:
    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        self.server = cluster["server"]
        self._ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=self._ca)
        self._token = user.get("token")
        if "client-certificate-data" in user:
            _load_pair(self._tls, user)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        self._http = httpx.Client(base_url=self.server, verify=self._tls, headers=headers, timeout=30)

    def ask(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **query: Any
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        return self._http.request(method, path, content=content, params=query, headers={"Content-Type": kind})

    def get(self, path: str, **query: Any) -> Any:
        return self.expect(200, "GET", path, **query)

    def expect(self, status: int, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The answer's document. A status other than *status* is an AssertionError that shows it."""
        answer = self.ask(method, path, body, **more)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def ask_as(self, token: str, path: str) -> httpx.Response:
        return self._http.get(path, headers={"Authorization": f"Bearer {token}"})

    def ask_impersonating(self, user: str, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return self._http.request(method, path, json=body, params=query, headers={"Impersonate-User": user})

    def gone(self, path: str) -> bool:
        return self.ask("GET", path).status_code == httpx.codes.NOT_FOUND

    @contextmanager
    def watching(self, path: str, **query: Any) -> Iterator[Iterator[dict[str, Any]]]:
        asked: dict[str, Any] = {"watch": "1", "timeoutSeconds": 30} | query
        with self._http.stream("GET", path, params=asked, timeout=WATCHED_SECONDS) as answer:
            assert answer.status_code == httpx.codes.OK, answer.read()
            yield (json.loads(line) for line in answer.iter_lines() if line)

    def run(
        self,
        pod: str,
        *command: str,
        container: str = "",
        protocols: str = "v4.channel.k8s.io",
        impersonating: str | None = None,
    ) -> Ran:
        """*command* in the pod at path *pod*."""
        query = [("stdout", "true"), ("stderr", "true"), *(("command", one) for one in command)]
        query += [("container", container)] if container else []
        headers = [f"Authorization: Bearer {self._token}"] if self._token else []
        headers += [f"Impersonate-User: {impersonating}"] if impersonating else []
        socket = websocket.WebSocket(sslopt={"context": self._tls})
        try:
            url = f"{self.server.replace('https', 'wss')}{pod}/exec?{urlencode(query)}"
            socket.connect(  # type: ignore[no-untyped-call]
                url, subprotocols=protocols.split(","), header=headers, timeout=20
            )
        except websocket.WebSocketBadStatusException as error:
            return Ran(b"", bytes(error.resp_body or b""), {}, error.status_code)
        channels: dict[int, bytes] = {}
        while (frame := socket.recv_data()) and frame[0] != websocket.ABNF.OPCODE_CLOSE:
            if frame[1]:
                channels[frame[1][0]] = channels.get(frame[1][0], b"") + frame[1][1:]
        socket.close()
        return Ran(channels.get(1, b""), channels.get(2, b""), json.loads(channels[3]), 101)


def _load_pair(context: ssl.SSLContext, user: dict[str, str]) -> None:
    with tempfile.NamedTemporaryFile() as pair:
        for key in ("client-certificate-data", "client-key-data"):
            pair.write(base64.b64decode(user[key]))
        pair.flush()
        context.load_cert_chain(pair.name)


def wait(look: Callable[[], T | None], what: str, seconds: float = 60) -> T:
    """The first truthy answer of *look*."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return found
