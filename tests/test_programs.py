"""The helper that starts programs for the tests."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.lab.region_address import base_port
from tests import programs

ROOT = Path(__file__).resolve().parent.parent


def test_ports_of_two_processes() -> None:
    """They never meet, though both choose from the same few thousand and none of their programs listens yet."""
    ask = "from tests.programs import free_port; print(*[free_port() for _ in range(1000)], flush=True); input()"
    command, pipe = [sys.executable, "-c", ask], subprocess.PIPE
    first, second = (subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(2))
    taken = []
    for process in (first, second):
        assert process.stdout is not None
        taken += [int(number) for number in process.stdout.readline().split()]
    first.communicate("\n")
    second.communicate("\n")
    assert len(set(taken)) == 2000


def test_ports_and_the_kernel() -> None:
    """None is one of a lab, or one that the kernel gives to a client."""
    lowest, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert max(programs.PORTS) < min(base_port(0), int(lowest))


def test_program_that_ends(tmp_path: Path) -> None:
    """Nobody waits for it: the test fails at once, with its exit code and what it said last."""
    command = [sys.executable, "-c", "raise SystemExit('address already in use')"]
    begun = time.monotonic()
    with (
        pytest.raises(pytest.fail.Exception, match=r"ended with 1; its log ends:\naddress already in use"),
        programs.running(command, log=tmp_path / "log", is_ready=lambda: False, seconds=60),
    ):
        pass
    assert time.monotonic() - begun < 10


def test_program_that_never_answers(tmp_path: Path) -> None:
    """The test fails with what it said, and it does not outlive the test."""
    command = [sys.executable, "-uc", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
    with (
        pytest.raises(pytest.fail.Exception, match=r"not ready within 1 s; its log ends:\n\d+"),
        programs.running(command, log=tmp_path / "log", is_ready=lambda: False, seconds=1),
    ):
        pass
    assert not Path(f"/proc/{(tmp_path / 'log').read_text().strip()}").exists()
