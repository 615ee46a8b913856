"""A fake world with everything a drill needs: application, backup, observer, evidence store; and runs on it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbooks.journal import Entry, read
from runbooks.report_schema import Report
from tests.drills.awaiting import first_entry
from tests.fakes import furnished, seed, site
from tests.fakes.fake_world import World
from tests.fakes.site import FakeSite
from tests.zygote import Child, Zygote

SCENARIO = "namespace-deletion"
DRILL = ("--mode", "drill", "--impact", "real", "--yes", "--no-server")


@dataclass
class Stage:
    world: World
    site: FakeSite
    zygote: Zygote
    folder: Path
    children: list[Child] = field(default_factory=list)

    def dr(self, *argv: str, terminal: str = os.devnull) -> Child:
        child = self.zygote.start(argv, folder=self.folder, env=self.site.environment, terminal=terminal)
        self.children.append(child)
        return child

    def start(self, run_id: str, *more: str) -> Child:
        """A new drill of this run id."""
        return self.dr("run", SCENARIO, "--site", "lab", "--run-id", run_id, *DRILL, *more)

    def resume(self, run_id: str) -> Child:
        return self.dr("run", SCENARIO, "--site", "lab", "--run-id", run_id, "--yes", "--no-server")

    def evidence(self, run_id: str) -> Path:
        return self.site.site.evidence.directory / run_id

    def report(self, run_id: str) -> Report:
        return Report.from_file(self.evidence(run_id) / "report.json")

    def raw_report(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.evidence(run_id) / "report.json").read_text())
        return found

    def journal(self, run_id: str) -> list[Entry]:
        path = self.evidence(run_id) / "journal.jsonl"
        return read(path) if path.exists() else []

    def wait_for(self, run_id: str, child: Child, is_there: Callable[[Entry], bool], seconds: float = 40) -> Entry:
        """The first journal entry of that kind; a run that ends before it fails the test."""
        return first_entry(self.evidence(run_id) / "journal.jsonl", child, is_there, seconds)

    def namespace_uid(self) -> str | None:
        found = self.world.find("/api/v1/namespaces/production")
        return None if found is None else str(found["metadata"]["uid"])

    def untouched(self, uid: str | None) -> None:
        """The namespace is the one it was, and nobody asked for its deletion."""
        found = self.world.find("/api/v1/namespaces/production")
        assert found is not None
        assert found["metadata"]["uid"] == uid
        assert "deletionTimestamp" not in found["metadata"]
        deleted = [w for w in self.world.writes() if w.method == "DELETE" and w.path.endswith("/namespaces/production")]
        assert deleted == []


@contextmanager
def stage(zygote: Zygote, folder: Path, **settings: Any) -> Iterator[Stage]:
    """The application has been green for longer than its `sustain` when this is ready."""
    with furnished.serve(folder / "world", **settings) as (world, backup):
        made = Stage(world, site.write(folder / "site", world), zygote, folder)
        seed.record(backup, made.site.records)
        observer = made.dr("observe", "--site", "lab")
        try:
            _wait_for_green(made, observer)
            yield made
        finally:
            for child in made.children:
                if child.poll() is None:
                    child.kill()


def _wait_for_green(made: Stage, observer: Child) -> None:
    directory = made.site.site.observer
    assert directory is not None
    samples = directory.directory / "samples.jsonl"
    until = time.monotonic() + 60
    while not samples.exists() or samples.read_text().count('"ok":true') < 2:
        assert observer.poll() is None, observer.output
        assert time.monotonic() < until, f"never green: {samples.read_text() if samples.exists() else observer.output}"
        time.sleep(0.05)
