"""The application `orders`: its own code for the volume, a list in place of its database, any pod as its process."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from deployments.lab.orders import volume
from deployments.lab.orders.settings import DownError
from tests.fakes import services, statuses
from tests.fakes.core import Core
from tests.fakes.http_server import Answer, Dropped, Handler, Server, as_json
from tests.fakes.kinds import CONFIG_MAPS
from tests.fakes.pods import mounted
from tests.fakes.recording import Exchange
from tests.fakes.store import Object

NAMESPACE, SERVICE, PORTS = "production", "orders", ("", "http", "8080")


class Application:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._rows: dict[str, int] = {}
        self._volumes: dict[str, volume.Markers] = {}  # by pod: each has its own memory, as separate processes do
        self._lock = threading.Lock()

    def from_outside(self, one: Exchange, body: bytes) -> Answer:
        """By the Service, as a client comes. Raises: Dropped, when no pod is ready."""
        ready = services.ready_pods(self._core, NAMESPACE, SERVICE)
        if not ready:
            raise Dropped
        return self.answer(ready[one.seq % len(ready)], one.method, one.path, parse_qs(one.query), body)

    def through_proxy(
        self, pod: Object, port: str, method: str, path: str, query: dict[str, list[str]], body: bytes
    ) -> Answer:
        """Raises: ApiError, as the API server's proxy does when a pod does not answer."""
        if pod["status"].get("phase") != "Running" or port not in PORTS or pod["metadata"].get("deletionTimestamp"):
            address = f"{pod['status'].get('podIP', '')}:{port}"
            raise statuses.unavailable(
                f"error trying to reach service: dial tcp {address}: connect: connection refused"
            )
        return self.answer(pod, method, path, query, body)

    def is_ready(self, core: Core, pod: Object, path: str) -> bool:
        """What the pod's readiness probe sees."""
        return self.answer(pod, "GET", path, {}, b"").status < 400

    def answer(self, pod: Object, method: str, path: str, query: dict[str, list[str]], body: bytes) -> Answer:
        data = mounted(self._core, pod)
        if data is None:
            return as_json({"error": f"nothing at {path}"}, 404)
        if pod["spec"]["containers"][0]["name"] != SERVICE:
            return _plain_file(data, path)
        try:
            return self._orders(pod, data, method, path, query, body)
        except DownError as down:
            return as_json({"error": str(down)}, 503)

    def _orders(
        self, pod: Object, data: Path, method: str, path: str, query: dict[str, list[str]], body: bytes
    ) -> Answer:
        if path == "/health":
            return self._health(data)
        if path == "/ready":
            volume.check(data)
            return as_json({"ready": True})
        if path == "/version":
            return as_json(self._version(pod))
        if match := re.fullmatch(r"/orders/(\d+)", path):
            return self._order(int(match[1]))
        if match := re.fullmatch(r"/invoices/(\d+)", path):
            content = volume.invoice(data, int(match[1]))
            return Answer(200, content, "text/plain") if content is not None else as_json({"error": "no invoice"}, 404)
        if match := re.fullmatch(r"/markers/(rows|volume)", path):
            return self._markers(pod, data, match[1], method, query, body)
        return as_json({"error": f"nothing at {path}"}, 404)

    def _health(self, data: Path) -> Answer:
        try:
            volume.check(data)
            self._check_database()
        except DownError as down:
            return as_json({"status": "DOWN", "why": str(down)}, 503)
        return as_json({"status": "UP"})

    def _check_database(self) -> None:
        if not self._core.settings.database_up:
            raise DownError("database db.lab.example: connection refused")

    def _version(self, pod: Object) -> dict[str, Any]:
        config = self._core.store.find(CONFIG_MAPS, pod["metadata"]["namespace"], SERVICE) or {}
        told = config.get("data", {})
        image = pod["spec"]["containers"][0]["image"]
        return {"version": told.get("VERSION"), "image": image.rpartition(":")[2], "color": told.get("COLOR")}

    def _order(self, number: int) -> Answer:
        self._check_database()
        known = self._core.settings.order_12345
        return as_json(known) if number == known["id"] else as_json({"error": f"no order {number}"}, 404)

    def _markers(
        self, pod: Object, data: Path, store: str, method: str, query: dict[str, list[str]], body: bytes
    ) -> Answer:
        after = int(query.get("after", ["-1"])[0])
        if method != "POST":
            return as_json(
                {"ids": self._volume(pod, data).after(after) if store == "volume" else self._rows_after(after)}
            )
        try:
            marker = json.loads(body)
            name, seq = str(marker["id"]), int(marker["seq"])
        except (ValueError, KeyError, TypeError):
            return as_json({"error": 'the body must be {"id": "…", "seq": n}'}, 400)
        stored = self._volume(pod, data).add(name, seq) if store == "volume" else self._add_row(name, seq)
        return as_json({"id": name, "seq": stored}, 201 if stored == seq else 409)

    def _volume(self, pod: Object, data: Path) -> volume.Markers:
        with self._lock:
            return self._volumes.setdefault(pod["metadata"]["uid"], volume.Markers(data))

    def _rows_after(self, after: int) -> list[int]:
        self._check_database()
        lost = self._core.settings.rows_lost_from
        with self._lock:
            return sorted(seq for seq in self._rows.values() if seq > after and (lost is None or seq < lost))

    def _add_row(self, name: str, seq: int) -> int:
        self._check_database()
        with self._lock:
            return self._rows.setdefault(name, seq)


def _plain_file(data: Path, path: str) -> Answer:
    try:
        return Answer(200, (data / path.lstrip("/")).read_bytes(), "application/octet-stream")
    except OSError:
        return Answer(404, b"not found", "text/plain")


class ApplicationServer(Server):
    application: Application


class ApplicationHandler(Handler):
    """Closes after each answer, as the real one does: a closed gate stops every client at once."""

    server: ApplicationServer

    def work(self, one: Exchange, body: bytes) -> Answer:
        self.close_connection = True
        answer = self.server.application.from_outside(one, body)
        return Answer(answer.status, answer.body, answer.kind, {"Connection": "close"})

    def record(self, one: Exchange) -> None:
        """Probes come every second; only what changes something is kept."""
        if one.method != "GET":
            super().record(one)
