"""The server's side of a WebSocket (RFC 6455), as far as exec needs it."""

from __future__ import annotations

import base64
import hashlib
import struct
import threading
from typing import BinaryIO

BINARY, CLOSE, PING, PONG = 0x2, 0x8, 0x9, 0xA
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept(key: str, protocol: str) -> bytes:
    token = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
             f"Sec-WebSocket-Accept: {token}", f"Sec-WebSocket-Protocol: {protocol}")  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class WebSocket:
    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._in, self._out = incoming, outgoing
        self._lock = threading.Lock()

    def send(self, payload: bytes, kind: int = BINARY) -> None:
        size = len(payload)
        head = bytes([0x80 | kind])
        if size < 126:
            head += bytes([size])
        elif size < 1 << 16:
            head += b"\x7e" + struct.pack("!H", size)
        else:
            head += b"\x7f" + struct.pack("!Q", size)
        with self._lock:
            self._out.write(head + payload)

    def close(self) -> None:
        self.send(struct.pack("!H", 1000), CLOSE)

    def receive(self) -> bytes | None:
        """The next message, or None when the client is done."""
        while True:
            head = self._in.read(2)
            if len(head) < 2:
                return None
            kind, size = head[0] & 0xF, head[1] & 0x7F
            if size == 126:
                [size] = struct.unpack("!H", self._in.read(2))
            elif size == 127:
                [size] = struct.unpack("!Q", self._in.read(8))
            mask = self._in.read(4) if head[1] & 0x80 else b"\0" * 4
            payload = bytes(byte ^ mask[n % 4] for n, byte in enumerate(self._in.read(size)))
            if kind == CLOSE:
                return None
            if kind == PING:
                self.send(payload, PONG)
            elif kind != PONG:
                return payload
