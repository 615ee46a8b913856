"""Programs that tests start: ports that nobody else gets, and an end that is noticed at once, with its log."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

PORTS = range(20000, 24000)
"""Below the lab's, and below those that the kernel hands out to clients: one of these is in use now and then."""
_held: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 that no other test on this machine is given until this process has ended."""
    for number in random.sample(PORTS, len(PORTS)):
        if (claim := _claim(number)) is not None:
            _held.append(claim)
            return number
    raise AssertionError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def _claim(number: int) -> socket.socket | None:
    """The kernel gives an abstract name once, and takes it back when its holder ends, however it ends."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0dr-runbooks-port-{number}")
        socket.create_server(("127.0.0.1", number)).close()
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.bind(("127.0.0.1", number))
    except OSError:
        claim.close()
        return None
    return claim


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    is_ready: Callable[[], bool],
    seconds: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """The program, from its first true answer until the block is left. It fails the test as soon as it has ended."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=output)
    try:
        wait_until_ready(process, is_ready, seconds=seconds, log=log)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def wait_until_ready(
    process: subprocess.Popen[bytes], is_ready: Callable[[], bool], *, seconds: float, log: Path
) -> None:
    over = time.monotonic() + seconds
    while not is_ready():
        name = " ".join(map(str, process.args)) if isinstance(process.args, list) else str(process.args)
        if (code := process.poll()) is not None:
            pytest.fail(f"{name} ended with {code}; its log ends:\n{tail(log)}")
        if time.monotonic() > over:
            pytest.fail(f"{name} not ready within {seconds:g} s; its log ends:\n{tail(log)}")
        time.sleep(0.05)


def tail(log: Path, characters: int = 3000) -> str:
    return log.read_text(errors="replace")[-characters:]
