"""A client outside holds a stopwatch: runs `poller.py`, and reads from its log when the application was away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbooks.clocks import Clocks
from tests.lab.the_lab import TheLab

POLLER = Path(__file__).with_name("poller.py")


@contextmanager
def poller(lab: TheLab, log: Path) -> Iterator[Path]:
    """A client that asks for order 12345 ten times a second, and writes down when it got it."""
    argv = [sys.executable, str(POLLER), lab.env["ORDERS_URL"], lab.env["DNS_SERVER"], str(log)]
    process = subprocess.Popen(argv)
    try:
        yield log
    finally:
        process.kill()
        process.wait()


def outage(log: Path, clocks: Clocks, *, sustain: float = 5) -> tuple[float, float]:
    """First red since the fault, and the first green after it that then held for *sustain* seconds (lab.toml's).

    Both in seconds since the epoch. A green that was over before the tools were done was a pause. Raises
    `AssertionError` when no green held so long.
    """
    fault, restored = clocks.fault, clocks.restored
    assert fault is not None
    assert restored is not None
    seen = [(float(at), green == "1") for at, green in (line.split() for line in log.read_text().splitlines())]
    since = [(at, green) for at, green in seen if at >= fault.timestamp()]
    red = next(at for at, green in since if not green)
    began: float | None = None
    for at, green in since:
        if at < red or not green:
            began = None
        elif began is None:
            began = at
        elif at - began >= sustain and at >= restored.timestamp():
            return red, began
    raise AssertionError(f"no green held for {sustain} s since {restored}")
