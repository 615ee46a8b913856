"""How long clients miss a database that is brought back: the fence, a client's stopwatch and the report agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runbooks import journal
from runbooks.model import now
from tests.database.the_database import TheDatabase
from tests.lab import stopwatch

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
NEAR_SECONDS = 2


def fenced(database: TheDatabase, run_id: str) -> float:
    """Seconds from when clients were shut out until they were let in, by the run's journal."""
    entries = journal.read(database.evidence(run_id) / "journal.jsonl")
    shut = next(e.at for e in entries if e.kind == "write" and e.step == "database_fence.close")
    let_in = next(e.at for e in entries if e.kind == "done" and e.step == "database_fence.open")
    return (let_in - shut).total_seconds()


def test_outage_of_a_wrong_delete(database: TheDatabase, kept: Path, tmp_path: Path) -> None:
    """The report's outage is what a client saw, and no shorter than the fence stood."""
    run_id = f"bench-outage-{now():%H%M%S}"
    with stopwatch.poller(database, tmp_path / "poller.log") as log:
        done = database.drill(run_id, "--with", "damage=wrong-delete")
    assert done.returncode == 0, done.stdout[-3000:]
    report = database.report(run_id)
    red, green = stopwatch.outage(log, report.clocks, sustain=1)
    fence, client, told = fenced(database, run_id), green - red, report.actual.outage_seconds
    (kept / "outage.json").write_text(
        json.dumps({"run": run_id, "fence": fence, "client": client, "report": told}, indent=2)
    )
    print(f"fence {fence:.1f} s, a client's outage {client:.1f} s, the report's {told} s (run {run_id})")
    assert told == pytest.approx(client, abs=NEAR_SECONDS)
    assert fence <= client + NEAR_SECONDS
