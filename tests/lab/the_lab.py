"""The lab as its tests see it: addresses from `dr lab env`, and an administrator's hands on it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import zygote
from tests.zygote import Child, Zygote

ROOT = Path(__file__).resolve().parents[2]
DR = (sys.executable, "-m", "deployments.cli")


@cache
def _forks() -> Zygote:
    """Its environment does not count; it ends with us."""
    kept = ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(zygote.serve())


@dataclass(frozen=True)
class TheLab:
    env: dict[str, str]

    def kubectl(self, *argv: str, region: str = "A", stdin: str | None = None, seconds: float = 60) -> str:
        command = [self.env["KUBECTL"], f"--kubeconfig={self.env[f'KUBECONFIG_{region}']}", *argv]
        return run(command, stdin=stdin, seconds=seconds)

    def kubectl_answer(self, *argv: str) -> str:
        """Its last word, whatever its exit code."""
        done = subprocess.run([self.env["KUBECTL"], *argv], capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip().splitlines()[-1]

    def get(self, *argv: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "-o", "json", *argv))
        return found

    def in_orders(self, script: str) -> str:
        """A shell script in a pod of the application."""
        return self.kubectl("-n", "production", "exec", "deploy/orders", "--", "sh", "-ec", script)

    def sql(self, statement: str) -> str:
        return run(["psql", self.env["PGURI_A"], "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement], seconds=30)

    def dr(self, *argv: str, seconds: float = 240) -> subprocess.CompletedProcess[str]:
        """To its end. A run that does without Prefect's server is forked from a process that has imported Prefect."""
        if argv[0] == "run" and "--no-server" in argv:
            return _forks().run(argv, environ=os.environ, seconds=seconds)
        return subprocess.run(
            [*DR, *argv],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def begin(self, *argv: str) -> Child:
        """A run without Prefect's server, to be killed."""
        assert "--no-server" in argv
        return _forks().begin(argv, environ=os.environ)

    def pid(self, component: str) -> int:
        """Of the process that serves a component."""
        record = json.loads((ROOT / ".lab" / "run" / f"{component}.json").read_text())
        return int(record["pid"])

    def repair(self) -> None:
        """What died is started again."""
        up()

    def evidence(self, run_id: str) -> Path:
        return Path(self.env["EVIDENCE"]) / run_id


def a_desk(lab: TheLab, folder: Path, programs: tuple[str, ...]) -> dict[str, str]:
    """A shell's environment with only these *programs*, neither `dr` nor Python; the lab's names resolve."""
    own = folder / "bin"
    own.mkdir()
    for name in programs:
        found = shutil.which(name)
        assert found is not None, f"{name} is not installed"
        (own / name).symlink_to(found)
    assert [shutil.which(name, path=str(own)) for name in ("dr", "python", "python3")] == [None] * 3
    public, direct = urlsplit(lab.env["ORDERS_URL"]), urlsplit(lab.env["ORDERS_URL_A"])
    (folder / ".curlrc").write_text(f'resolve = "{public.hostname}:{public.port}:{direct.hostname}"\n')
    return {"PATH": str(own), "HOME": str(folder), "CURL_HOME": str(folder)}


def run(command: list[str], *, stdin: str | None = None, seconds: float) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def up(*argv: str) -> TheLab:
    """The lab, brought up or repaired; it stays up for the next test run and for people."""
    done = subprocess.run(
        [*DR, "lab", "up", *argv], cwd=ROOT, capture_output=True, text=True, timeout=1800, check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"the lab does not come up:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    told = run([*DR, "lab", "env"], seconds=60)
    return TheLab(dict(line.split("=", 1) for line in told.splitlines()))
