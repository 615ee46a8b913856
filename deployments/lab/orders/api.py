"""The HTTP interface. Each answer closes its connection, so that a closed gate stops every client at once."""

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from . import volume
from .database import Database
from .names import Names
from .settings import DownError, Settings, image_version

LARGEST_BODY_BYTES = 4096


@dataclass(frozen=True)
class Answer:
    status: HTTPStatus
    body: Any


class RefusedError(Exception):
    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Orders:
    """What the application answers, free of HTTP."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._data = settings.data
        self._database = Database(settings, Names(settings.dns_server))
        self._markers = volume.Markers(settings.data)

    def health(self) -> Answer:
        try:
            volume.check(self._data)
            self._database.run("select 1")
        except DownError as down:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "DOWN", "why": str(down)})
        return Answer(HTTPStatus.OK, {"status": "UP"})

    def ready(self) -> Answer:
        """Local only: a dead database must not take every replica out of the Service."""
        volume.check(self._data)
        return Answer(HTTPStatus.OK, {"ready": True})

    def version(self) -> Answer:
        versions = {"version": self._settings.version, "image": image_version(), "color": self._settings.color}
        return Answer(HTTPStatus.OK, versions)

    def order(self, number: int) -> Answer:
        rows = self._database.run("select id, customer, total::text, status from orders where id = :id", id=number)
        if not rows:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"no order {number}")
        return Answer(HTTPStatus.OK, dict(zip(("id", "customer", "total", "status"), rows[0], strict=True)))

    def stats(self) -> Answer:
        [counts] = self._database.run(
            "select (select count(*) from orders), (select max(id) from orders), (select count(*) from payments),"
            " (select count(*) from payments p left join orders o on o.id = p.order_id where o.id is null)"
        )
        names = ("orders", "last_order_id", "payments", "payments_without_order")
        return Answer(HTTPStatus.OK, dict(zip(names, counts, strict=True)))

    def count(self) -> Answer:
        [[orders]] = self._database.run("select count(*) from orders")
        return Answer(HTTPStatus.OK, {"count": orders})

    def invoice(self, number: int) -> Answer:
        content = volume.invoice(self._data, number)
        if content is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"no invoice {number}")
        return Answer(HTTPStatus.OK, content)

    def markers(self, store: str, after: int) -> Answer:
        if store == "volume":
            return Answer(HTTPStatus.OK, {"ids": self._markers.after(after)})
        rows = self._database.run("select seq from markers_rows where seq > :after order by seq", after=after)
        return Answer(HTTPStatus.OK, {"ids": [row[0] for row in rows]})

    def mark(self, store: str, marker: str, seq: int) -> Answer:
        """Stored durably, once; the same id again is answered alike, with another number it is a conflict."""
        stored = self._markers.add(marker, seq) if store == "volume" else self._mark_row(marker, seq)
        if stored != seq:
            raise RefusedError(HTTPStatus.CONFLICT, f"marker {marker} has sequence number {stored}")
        return Answer(HTTPStatus.CREATED, {"id": marker, "seq": stored})

    def _mark_row(self, marker: str, seq: int) -> int:
        insert = "insert into markers_rows (id, seq) values (:id, :seq) on conflict (id) do nothing returning seq"
        rows = self._database.run(insert, id=marker, seq=seq)
        rows = rows or self._database.run("select seq from markers_rows where id = :id", id=marker)
        return int(rows[0][0])


class Handler(BaseHTTPRequestHandler):
    server: "Server"
    timeout = 5  # a client that sends nothing must not hold a thread

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _get(self) -> Answer:
        orders, url = self.server.orders, urlsplit(self.path)
        plain = {"/health": orders.health, "/ready": orders.ready, "/version": orders.version, "/stats": orders.stats}
        if url.path in plain:
            return plain[url.path]()
        if url.path == "/orders" and url.query == "count":
            return orders.count()
        if match := re.fullmatch(r"/(orders|invoices)/(\d{1,18})", url.path):
            return (orders.order if match[1] == "orders" else orders.invoice)(int(match[2]))
        if match := re.fullmatch(r"/markers/(rows|volume)", url.path):
            return orders.markers(match[1], _number(parse_qs(url.query).get("after", ["-1"])[0]))
        raise RefusedError(HTTPStatus.NOT_FOUND, f"nothing at {url.path}")

    def _post(self) -> Answer:
        match = re.fullmatch(r"/markers/(rows|volume)", urlsplit(self.path).path)
        if not match:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"nothing to post to at {self.path}")
        marker, seq = _marker(self.rfile.read(self._length()))
        return self.server.orders.mark(match[1], marker, seq)

    def _length(self) -> int:
        length = _number(self.headers.get("Content-Length", "0"))
        if length > LARGEST_BODY_BYTES:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST_BODY_BYTES} bytes")
        return length

    def _answer(self, work: Any) -> None:
        try:
            answer: Answer = work()
        except RefusedError as refusal:
            answer = Answer(refusal.status, {"error": str(refusal)})
        except DownError as down:
            answer = Answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": str(down)})
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        plain = isinstance(answer.body, bytes)
        body = answer.body if plain else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/plain; charset=utf-8" if plain else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Only what went wrong: probes and markers come every second."""
        if int(code) >= HTTPStatus.INTERNAL_SERVER_ERROR:
            super().log_request(code, size)


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = False  # a request under way is finished before the process ends

    def __init__(self, settings: Settings) -> None:
        super().__init__((settings.bind, settings.port), Handler)
        self.orders = Orders(settings)

    def server_bind(self) -> None:
        """Without the look-up of our own name, which has nobody to answer it in a pod."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{text!r} is no whole number") from error


def _marker(body: bytes) -> tuple[str, int]:
    try:
        marker = json.loads(body)
        return str(marker["id"]), int(marker["seq"])
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, 'the body must be {"id": "…", "seq": n}') from error
