"""Where fake worlds are born: one process imports all that they need, and forks each of them.

Python's imports take a world longer than most tests take its time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Process:
    """A world. It ends when the test's end of *link* is closed, also when whoever holds that was killed."""

    handle: int  # a pid may be another's by now, this is not
    link: socket.socket
    told: str  # its first line; empty: it did not come so far

    def has_ended(self) -> bool:
        self.link.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return self.link.recv(1) == b""
        return False

    def kill(self) -> None:
        """It is gone when this returns, whether it was stopped, hung or had ended."""
        if self.handle >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)
            os.close(self.handle)
        self.link.setblocking(True)
        with self.link:
            while self.link.recv(1):
                pass


def start(directory: Path, log: Path, like: Path | None) -> Process:
    """A new world, or one as is kept in *like*; what it and its controllers complain about goes to *log*."""
    ours, its = socket.socketpair()
    with its, log.open("ab") as output:
        message = os.fsencode(f"{directory}\0{like or ''}")
        socket.send_fds(_nursery().requests, [message], [its.fileno(), output.fileno()])
    with ours.makefile() as lines:
        pid, told = lines.readline(), lines.readline()
    handle = os.pidfd_open(int(pid)) if told else -1
    return Process(handle, ours, told)


@dataclass(frozen=True)
class _Nursery:
    process: subprocess.Popen[bytes]
    requests: socket.socket


@functools.cache
def _nursery() -> _Nursery:
    """One for this process, and gone with it: its socket is then closed."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.world_process"],
            cwd=ROOT, stdin=its.fileno(), stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    return _Nursery(process, ours)
