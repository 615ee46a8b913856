"""What the tests ask over real sockets: an application that can be broken, and a DNS server whose records move."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dns.message
import dns.rcode
import dns.rrset


@dataclass
class World:
    """`how`: up, red (503), wrong (other data), slow (1.5 s), drip (a byte now and then), hang, off (closes)."""

    how: str = "up"
    dead_stores: set[str] = field(default_factory=set)
    markers: dict[str, dict[int, str]] = field(default_factory=lambda: {"rows": {}, "volume": {}})
    page: int | None = None
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Application(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), Handler)
        self.world = World()

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Application

    def do_GET(self) -> None:
        world, url = self.server.world, urlsplit(self.path)
        world.asked.append(self.path)
        world.hosts.append(self.headers["Host"])
        if not self._behaves(world):
            return
        if url.path.startswith("/markers/"):
            self._read_back(url.path.rpartition("/")[2], int(parse_qs(url.query)["after"][0]))
        elif world.how == "red":
            self._send(503, {"status": "DOWN"})
        elif url.path.startswith("/orders/"):
            self._send(200, {"id": 12345, "customer": "nobody" if world.how == "wrong" else "ACME", "extra": 1})
        else:
            self._send(200, {"status": "UP"})

    def _behaves(self, world: World) -> bool:
        if world.how == "off":
            self.connection.shutdown(socket.SHUT_RDWR)
            return False
        if world.how == "hang":
            world.over.wait(20)
            return False
        if world.how == "drip":
            self._drip(world)
            return False
        if world.how == "slow":
            world.over.wait(1.5)
        return True

    def _drip(self, world: World) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not world.over.wait(0.1):
                self.wfile.write(b" ")
        except OSError:
            return

    def _read_back(self, store: str, after: int) -> None:
        if store in self.server.world.dead_stores:
            self._send(503, {"error": "dead"})
            return
        ids = sorted(n for n in self.server.world.markers[store] if n > after)
        self._send(200, {"ids": ids[: self.server.world.page]})

    def do_POST(self) -> None:
        world, store = self.server.world, self.path.rpartition("/")[2]
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._behaves(world):
            return
        if store in world.dead_stores or world.how == "red":
            self._send(503, {"error": "dead"})
            return
        world.markers[store][given["seq"]] = given["id"]
        self._send(201, given)

    def _send(self, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """The tests look at the world instead."""


@contextmanager
def application(host: str = "127.0.0.1", port: int = 0) -> Iterator[Application]:
    with Application(host, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.world.over.set()
            server.shutdown()
            thread.join()


@dataclass
class Names:
    """Addresses by name; None as an address: the server keeps silent."""

    address: str
    records: dict[str, str | None]


@contextmanager
def name_server(records: dict[str, str | None]) -> Iterator[Names]:
    """A DNS server; its answers may be kept for an hour, which nobody here should do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(0.05)
        names, over = Names(f"127.0.0.1:{udp.getsockname()[1]}", records), threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    raw, client = udp.recvfrom(4096)
                except TimeoutError:
                    continue
                if (answer := _answer(names, raw)) is not None:
                    udp.sendto(answer, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield names
        finally:
            over.set()
            thread.join()


def _answer(names: Names, raw: bytes) -> bytes | None:
    query = dns.message.from_wire(raw)
    name = query.question[0].name.to_text(omit_final_dot=True)
    if name in names.records and names.records[name] is None:
        return None
    answer = dns.message.make_response(query)
    address = names.records.get(name)
    if address is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    elif query.question[0].rdtype == 1:
        answer.answer.append(dns.rrset.from_text(query.question[0].name, 3600, "IN", "A", address))
    return answer.to_wire()


def until(look: Any, seconds: float = 10) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)
    return found
