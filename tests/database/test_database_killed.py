"""kill -9 of the runner, in turn behind every step, and in the middle of those that take long: the same run goes on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from runbooks import documents, journal
from runbooks.records import RunKind
from tests.database import outside, withheld
from tests.database.the_database import DRILL, SCENARIO, TheDatabase
from tests.lab import stopwatch
from tests.lab.test_drills import ahead_of_all, wait_for

pytestmark = [pytest.mark.database, pytest.mark.timeout(900)]
DOCUMENT = documents.load(SCENARIO)
STEPS = [s for s in DOCUMENT.steps_of(RunKind.DRILL) if DOCUMENT.phase_of(s) not in ("record", "clean_up")]


def resumed(database: TheDatabase, run_id: str, damage: str, kills: list[tuple[str, str, float]]) -> list[str]:
    """What the run has written, after a kill at each place: kind of entry, step, and how long after it."""
    argv: tuple[str, ...] = (*DRILL, "--run-id", run_id, "--with", f"damage={damage}")
    again = ("run", SCENARIO, "--site", "lab", "--run-id", run_id, "--yes", "--no-server")
    for kind, step, seconds in kills:
        process = database.begin(*argv)
        with ahead_of_all():
            wait_for(database, run_id, process, kind, step, seconds=120)
            time.sleep(seconds)
            process.kill()
        process.wait()
        argv = again
    done = database.dr(*argv)
    assert done.returncode == 0, done.stdout + done.stderr
    report = outside.has_passed(database, run_id, done.stdout)
    assert len(report.attempts) == len(kills) + 1
    assert report.actual.rpo_seconds == 0
    is_done_once(database, run_id)
    entries = journal.read(database.evidence(run_id) / "journal.jsonl")
    return [str(e.data["what"]) for e in entries if e.kind == "write"]


def is_done_once(database: TheDatabase, run_id: str) -> None:
    """One new timeline, one directory aside, one new backup set; each clock was taken once."""
    plan, recovered = evidence(database, run_id, "choose"), evidence(database, run_id, "recover")
    assert isinstance(plan["past"], dict)
    assert recovered["timeline"] == plan["past"]["timeline"] + 1
    assert len(list(database.folder().glob(f"data.aside-{run_id}"))) == 1
    entries = journal.read(database.evidence(run_id) / "journal.jsonl")
    clocks = [str(e.data["name"]) for e in entries if e.kind == "clock"]
    assert len(clocks) == len(set(clocks))
    ours = [one for one in database.sets() if f"dr-run: {run_id}" in told_of(database, one)]
    assert len(ours) == 1


def told_of(database: TheDatabase, label: str) -> str:
    return database.pgbackrest("info", f"--set={label}")


def evidence(database: TheDatabase, run_id: str, step: str) -> dict[str, object]:
    entries = journal.read(database.evidence(run_id) / "journal.jsonl")
    [found] = [e.data["evidence"] for e in entries if e.kind == "done" and str(e.step).endswith(f".{step}")]
    assert isinstance(found, dict)
    return dict(found)


def test_killed_behind_each_step(database: TheDatabase, run_id: str, tmp_path: Path) -> None:
    """It goes on each time; the restore was begun once, and what was proven is not done again."""
    with stopwatch.poller(database, tmp_path / "poller.log") as log:
        written = resumed(database, run_id, "wrong-delete", [("done", step, 0) for step in STEPS])
    assert len([what for what in written if what.startswith("restore 2")]) == 1
    assert len([what for what in written if what.startswith("delete the rows")]) == 1
    seen = outside.agrees(database, database.report(run_id), log)
    assert seen.lost == []


IN_THE_MIDDLE = [
    ("write", "database_disasters.damage", 0.3),
    ("intent", "database_fence.close", 0.3),
    ("write", "database_restore.set_aside", 0.05),
    ("write", "database_restore.restore", 0.6),
    ("write", "database_restore.recover", 0.3),
    ("write", "database_protection.check", 1.0),
]
"""While it loses the directory, fences, renames, restores, recovers, and takes the new full backup."""


def test_killed_in_the_middle_of_steps(database: TheDatabase, run_id: str) -> None:
    """It goes on though the host has not heard that we are dead, and is still at work on what we had begun: one restore
    comes in, one backup is made, and nothing is done twice."""
    with withheld.between(database) as network:
        network.forgetful = True
        written = resumed(database, run_id, "data-directory", IN_THE_MIDDLE)
    assert len([what for what in written if what.startswith("take a full backup")]) <= 2
    lost = list(database.folder().glob(f"data.lost-{run_id}"))
    assert [(one / "PG_VERSION").exists() for one in lost] == [True]
