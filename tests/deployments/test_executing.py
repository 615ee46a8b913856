"""What Prefect does to a run that it shows, and must not do."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.commands import executing
from runbooks.errors import Refused
from tests import programs
from tests.deployments import prefect_server
from tests.deployments.prefect_server import Wire
from tests.deployments.sample import sample

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


class Started:
    def __init__(self, url: str, folder: Path) -> None:
        self.gate = folder / "gate"
        command = [sys.executable, "-m", "tests.deployments.run_sample", str(self.gate)]
        environment = prefect_server.environment(folder / "client", url)
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    def wait_until_begun(self, *, shown_by: str) -> None:
        end = time.monotonic() + 60
        while not self.gate.exists() or not self.gate.read_text():
            assert time.monotonic() < end
            assert self.process.poll() is None
            time.sleep(0.05)
        assert self.gate.read_text().split()[1] == shown_by

    def ends(self, within: float) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=within)
        return self.process.returncode, said


@pytest.mark.prefect
@pytest.mark.parametrize("fails", [Wire.cut, Wire.freeze])
def test_prefect_server_dies_in_mid_run(port: int, tmp_path: Path, fails: Callable[[Wire], None]) -> None:
    """The body goes on to its end, and its result is the exit code, within seconds; also when the server hangs."""
    wire = Wire(port)
    started = Started(wire.url, tmp_path)
    started.wait_until_begun(shown_by="prefect")
    fails(wire)
    started.gate.unlink()
    assert started.ends(within=15) == (0, "told: ended well\n")


@pytest.mark.prefect
def test_prefect_server_answers_to_its_end(url: str, tmp_path: Path) -> None:
    """The result is told once."""
    started = Started(url, tmp_path)
    started.wait_until_begun(shown_by="prefect")
    started.gate.unlink()
    assert started.ends(within=30) == (0, "told: ended well\n")


def test_prefect_server_gone_before_the_run_began(tmp_path: Path) -> None:
    """It runs without."""
    started = Started(f"http://127.0.0.1:{programs.free_port()}/api", tmp_path)
    started.wait_until_begun(shown_by="plain")
    started.gate.unlink()
    assert started.ends(within=30) == (0, "told: ended well\n")


def test_refused_without_a_server() -> None:
    """The house error is the outcome, not an exception of ours."""
    outcome = executing.plainly(sample, {"site": "nowhere", "backup": "refuse"})
    assert isinstance(outcome, Refused)
    assert outcome.hint == "take one"
