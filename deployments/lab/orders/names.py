"""Turns the database's name into an address: by /etc/hosts first, as any resolver does, then by asking one DNS server:
the lab's pods have no cluster DNS."""

import secrets
import socket
import struct
import threading
import time
from pathlib import Path

from .settings import DownError

ASK_WITHIN_SECONDS = 0.2  # part of the 0.8 s in which /health must have answered
LONGEST_TTL_SECONDS = 1  # a failover must be seen at once
A, IN = 1, 1
HOSTS = Path("/etc/hosts")


class Names:
    """Addresses by name, each asked for again once its TTL is over.

    While the DNS server is away the last address stays good, as a caching resolver's would."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._known: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def address(self, name: str) -> str:
        if name.replace(".", "").isdigit():
            return name
        if written := _written(name):
            return written
        with self._lock:
            known = self._known.get(name)
            if known and time.monotonic() < known[1]:
                return known[0]
            try:
                address, ttl = ask(name, self._server)
            except DownError:
                if known is None:
                    raise
                address, ttl = known[0], LONGEST_TTL_SECONDS
            self._known[name] = (address, time.monotonic() + min(ttl, LONGEST_TTL_SECONDS))
            return address


def _written(name: str) -> str | None:
    """The first address that /etc/hosts has for *name*."""
    lines = HOSTS.read_text().splitlines() if HOSTS.exists() else []
    entries = (line.partition("#")[0].split() for line in lines)
    return next((entry[0] for entry in entries if name in entry[1:]), None)


def ask(name: str, server: tuple[str, int]) -> tuple[str, int]:
    """The first A record of *name* and its TTL in seconds."""
    number = secrets.randbits(16)
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split(".")) + b"\0"
    query = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + question + struct.pack("!2H", A, IN)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(ASK_WITHIN_SECONDS)
            udp.connect(server)
            udp.send(query)
            answer = udp.recv(4096)
        return _first_address(answer, number, skip=len(question) + 4)
    except (OSError, struct.error, IndexError) as error:
        raise DownError(f"DNS server {server[0]}:{server[1]} does not resolve {name}: {error}") from error


def _first_address(answer: bytes, number: int, skip: int) -> tuple[str, int]:
    seen, flags, _, answers = struct.unpack_from("!4H", answer)
    if seen != number or flags & 0xF:
        raise OSError(f"answer code {flags & 0xF}")
    at = 12 + skip
    for _ in range(answers):
        at = _past_name(answer, at)
        kind, _, ttl, length = struct.unpack_from("!HHIH", answer, at)
        at += 10 + length
        if kind == A:
            return socket.inet_ntoa(answer[at - length : at]), ttl
    raise OSError("no address in the answer")


def _past_name(answer: bytes, at: int) -> int:
    while answer[at]:
        if answer[at] >= 0xC0:  # a pointer ends the name
            return at + 2
        at += answer[at] + 1
    return at + 1
