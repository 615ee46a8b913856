"""Follows a command to its end: both outputs are read as they come, so that neither can fill up and stop it."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import paramiko

from runbooks.errors import Unavailable
from runbooks.model import spell

OnLine = Callable[[str], None]
BEAT_SECONDS = 5.0
LOOK_SECONDS = 0.25
AFTER_EXIT_SECONDS = 0.5
"""How long a child that keeps an output open is listened to when the command itself has ended."""
ENDING_SECONDS = 8.0
"""The other side gives a command 5 s to end before it kills it."""
BREAKS_SECONDS = 0.3
READ_BYTES = 1 << 16
STDERR_KEPT = 1 << 20


@dataclass(frozen=True)
class Ended:
    exit_code: int | None
    stdout: bytes
    stderr: bytes


class Follower:
    def __init__(self, channel: paramiko.Channel, where: str, on_line: OnLine | None) -> None:
        self._channel, self._where, self._on_line = channel, where, on_line
        self._stdout, self._stderr = bytearray(), bytearray()
        self._parts = {"out": bytearray(), "err": bytearray()}

    def follow(self, within: timedelta) -> Ended:
        """Raises: Unavailable: it did not end in time, or the connection broke."""
        end = time.monotonic() + within.total_seconds()
        if not self._until_exit(end):
            raise self._given_up(within)
        self._rest()
        code = self._channel.recv_exit_status()
        if code < 0 and not self._is_connected():
            raise Unavailable(
                f"the connection broke while {self._where} ran", "the command is ended there; look, then ask again"
            )
        return Ended(None if code < 0 else code, bytes(self._stdout), bytes(self._stderr))

    def _is_connected(self) -> bool:
        """A connection that breaks ends its channels first, and then says so itself."""
        transport, end = self._channel.get_transport(), time.monotonic() + BREAKS_SECONDS
        while transport is not None and transport.is_active() and time.monotonic() < end:
            time.sleep(0.01)
        return transport is not None and transport.is_active()

    def _until_exit(self, end: float) -> bool:
        waiting = select.poll()
        waiting.register(self._channel.fileno(), select.POLLIN)
        beat = time.monotonic() + BEAT_SECONDS
        while not self._channel.exit_status_ready():
            now = time.monotonic()
            if now >= end:
                return False
            if now >= beat:
                self._beat()
                beat = now + BEAT_SECONDS
            if self._channel.eof_received:
                time.sleep(0.01)  # poll would answer at once, for ever
            else:
                waiting.poll(1000 * min(LOOK_SECONDS, end - now))
            self._drain()
        return True

    def _rest(self) -> None:
        """What was written before the end may still be on its way."""
        end = time.monotonic() + AFTER_EXIT_SECONDS
        while self._drain() or not (self._channel.eof_received or self._channel.closed):
            if time.monotonic() >= end:
                break
            time.sleep(0.002)
        for part in self._parts.values():
            self._lines(part, b"\n" if part else b"")

    def _drain(self) -> bool:
        got = False
        while self._channel.recv_ready():
            data = self._channel.recv(READ_BYTES)
            self._stdout += data
            self._lines(self._parts["out"], data)
            got = True
        while self._channel.recv_stderr_ready():
            data = self._channel.recv_stderr(READ_BYTES)
            self._stderr = (self._stderr + data)[-STDERR_KEPT:]
            self._lines(self._parts["err"], data)
            got = True
        return got

    def _lines(self, part: bytearray, data: bytes) -> None:
        if self._on_line is None:
            return
        part += data
        *whole, rest = part.split(b"\n")
        part[:] = rest
        for line in whole:
            self._on_line(line.decode(errors="replace").rstrip("\r"))

    def _beat(self) -> None:
        with contextlib.suppress(OSError):  # it has just ended: that is seen next
            self._channel.sendall(b"+\n")

    def _given_up(self, within: timedelta) -> Unavailable:
        """Ends it over there, and looks whether it is so."""
        with contextlib.suppress(OSError):
            self._channel.shutdown_write()
        ended = self._until_exit(time.monotonic() + ENDING_SECONDS) and self._is_connected()
        return Unavailable(
            f"{self._where} did not end within {spell(within)}; "
            + ("it was ended" if ended else "it may still run there"),
            "is the host or its disk overloaded?",
        )
