"""Findings are followed from run to run."""

from __future__ import annotations

from pathlib import Path

from runbooks import findings, report
from runbooks.findings import finding_id
from runbooks.report import Report
from tests.runbooks.journals import Evidence, check, finding

BACKUP = finding("protection.check", "the next backup was not complete within 60 s", "look at the schedule")
VOLUME = finding("volume kept", "1 old volume is kept", "delete it", "red")


def run(directory: Path, day: int, *found: dict[str, str], ended: str = "finished") -> Path:
    """A run at *day*:00 with these findings."""
    made = Evidence(directory, f"run-{day}").set(f"{day:02}:00").open()
    made.set(f"{day:02}:01", "restore").add("write", what="create Restore", target={})
    made.add("checks", checks=[check("health", "UP", "UP")], weakly_checked=[])
    for one in found:
        made.add("finding", **one)
    if ended != "killed":
        made.end(f"{day:02}:02", ended)
    return made.directory


def reports(*directories: Path) -> list[Report]:
    built: list[Report] = []
    for directory in directories:
        built.append(report.build(directory, built, holder=report.Holder.GONE))
    return built


def test_id() -> None:
    """Made from scenario, check and target alone, so that other words for the same thing keep it."""
    assert finding_id("namespace-deletion", "protection.check", "orders") == "274303e15084"
    assert finding_id("namespace-deletion", "protection.check", "shop") != "274303e15084"


def test_still_open(tmp_path: Path) -> None:
    """A finding carries the run that saw it first, also when its words have changed."""
    other_words = {**BACKUP, "problem": "no backup within 90 s"}
    built = reports(run(tmp_path, 1, BACKUP), run(tmp_path, 2, other_words), run(tmp_path, 3, BACKUP, VOLUME))
    assert [f.first_seen_run for f in built[1].findings] == ["run-1"]
    assert {f.problem: f.first_seen_run for f in built[2].findings} == {
        BACKUP["problem"]: "run-1",
        VOLUME["problem"]: "run-3",
    }


def test_red_ones_first(tmp_path: Path) -> None:
    """What must be repaired stands above what should be."""
    built = reports(run(tmp_path, 1, BACKUP, VOLUME))
    assert [f.severity for f in built[0].findings] == ["red", "yellow"]


def test_fixed(tmp_path: Path) -> None:
    """What the last run found and this one did not is told once."""
    built = reports(run(tmp_path, 1, BACKUP, VOLUME), run(tmp_path, 2, VOLUME), run(tmp_path, 3, VOLUME))
    assert built[1].improvements == (f"Fixed, first seen in run run-1: {BACKUP['problem']}",)
    assert built[2].improvements == ()


def test_interrupted_run_fixes_nothing(tmp_path: Path) -> None:
    """It did not look; and a finding survives it."""
    built = reports(run(tmp_path, 1, BACKUP), run(tmp_path, 2, ended="killed"), run(tmp_path, 3, BACKUP))
    assert (built[1].verdict, built[1].improvements) == ("interrupted", ())
    assert built[2].findings[0].first_seen_run == "run-1"


def test_same_finding_twice_in_a_run(tmp_path: Path) -> None:
    """Once in the report."""
    assert len(reports(run(tmp_path, 1, BACKUP, BACKUP))[0].findings) == 1


def test_runs_of_the_future(tmp_path: Path) -> None:
    """A report that is made again later is the same: newer runs do not count."""
    first, second = run(tmp_path, 1, BACKUP), run(tmp_path, 2, VOLUME)
    built = reports(first, second)
    assert report.build(first, built, holder=report.Holder.GONE) == built[0]


def test_nothing_before(tmp_path: Path) -> None:
    """The first run of all fixes nothing."""
    assert findings.fixed(reports(run(tmp_path, 1, BACKUP))[0].findings, []) == ()
