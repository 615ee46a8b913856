"""`dr` as a shell runs it, and a site to run it on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from runbooks.journal import Journal
from runbooks.model import Json
from tests.lab_template import filled
from tests.zygote import Child, Zygote

RUN = "20261123-100000-4f2a"
PLAN: dict[str, Json] = {"backup": "orders-15m-1", "bound_seconds": 720.0}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """Its lab is *root*: nothing answers there, and its evidence is kept in files."""

    root: Path
    forks: Zygote

    def dr(self, *arguments: str) -> Done:
        out, err = (self.root / f"{name}-{time.monotonic_ns()}" for name in ("out", "err"))
        environment = {"DR_LAB_ROOT": str(self.root), "PREFECT_HOME": str(self.root / "prefect"), "COLUMNS": "200"}
        request = {"argv": arguments, "log": str(out), "err": str(err), "env": environment}
        code = Child(self.forks, self.forks.ask(request), out).wait(120)
        return Done(code, out.read_text(), err.read_text())

    @property
    def site_file(self) -> Path:
        return self.root / "site.toml"

    @property
    def evidence(self) -> Path:
        return self.root / "evidence"

    @property
    def store(self) -> Path:
        return self.root / "store"

    def journal(self) -> Journal:
        """Of a run that waits for a person."""
        journal = Journal(self.evidence / RUN / "journal.jsonl")
        journal.begin_attempt(host="here", pid=1, how="plain", flow_run_id=None)
        journal.append("plan", phase="prepare", step="velero.choose_backup", backup=PLAN["backup"])
        return journal


def shell(root: Path, forks: Zygote) -> Shell:
    values = {
        "EVIDENCE_DIR": str(root / "evidence"),
        "OBSERVER_DIR": str(root / "observer"),
        "PREFECT_API_URL": "http://127.0.0.1:1/api",
        "SLACK_URL": "http://127.0.0.1:1/api/",
        "DNS_SERVER": "127.0.0.1:1",
    }
    made = Shell(root, forks)
    made.site_file.write_text(
        filled(values, "region b", "no clusters").replace("s3://evidence", f"file://{root / 'store'}")
    )
    return made
