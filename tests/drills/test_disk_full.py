"""The disk with the evidence is full: nothing is broken then; what is broken is recovered, and no evidence is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks import journal
from runbooks.journal import Entry
from runbooks.report_schema import Report
from tests.drills.stage import Stage

BACK, REFUSED, CRASHED = 0, 3, 5


@pytest.fixture
def disk(drill: Stage) -> Iterator[Path]:
    """The evidence lies on a disk of its own, of 8 MiB."""
    path = drill.site.site.evidence.directory
    path.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path, *, but: int = 0) -> None:
    """All that is free is taken, *but* that many bytes."""
    room = os.statvfs(disk)
    with (disk / f"filler-{len(list(disk.iterdir()))}").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, max(room.f_bavail * room.f_bsize - but, 1))


def is_broken(entry: Entry) -> bool:
    return entry.kind == "done" and entry.step == "disasters.delete_namespace"


def in_the_store(drill: Stage, run_id: str) -> Path:
    return Path(drill.site.site.evidence.store.url.removeprefix("file://")) / "runs" / run_id


def test_full_before_it_begins(drill: Stage, disk: Path) -> None:
    """Refused at once, with what is full; when there is room again the same run id starts."""
    uid = drill.namespace_uid()
    fill(disk, but=64 * 1024)
    child = drill.start("full")
    assert child.wait() == REFUSED, child.output[-3000:]
    assert "evidence cannot be written" in child.output
    assert "No space left" in child.output
    drill.untouched(uid)
    for filler in disk.glob("filler-*"):
        filler.unlink()
    assert drill.start("full", "--dry-run").wait() == BACK


def test_full_before_the_break(drill: Stage, disk: Path) -> None:
    """Nothing is broken, and the report that says so is there: room for it was kept."""
    uid = drill.namespace_uid()
    fault = drill.world.fault("hang", method="POST", path="/backups$", user="runner")
    child = drill.start("full")
    drill.world.wait_until_held(fault, 40)
    fill(disk)
    drill.world.release()
    assert child.wait(60) == REFUSED, child.output[-4000:]
    drill.untouched(uid)
    assert drill.report("full").verdict == "refused"
    assert "evidence cannot be written" in child.output
    volumes = drill.world.api("GET", "/api/v1/persistentvolumes")["items"]
    assert {v["spec"]["persistentVolumeReclaimPolicy"] for v in volumes} == {"Delete"}


def test_full_after_the_break(drill: Stage, disk: Path) -> None:
    """The recovery goes on; what it has to record fits into the room that was kept."""
    drill.world.set(restore_seconds=2)
    child = drill.start("full")
    drill.wait_for("full", child, is_broken)
    fill(disk)
    assert child.wait(90) == BACK, child.output[-4000:]
    report = drill.report("full")
    assert (report.verdict, report.service, report.evidence_complete) == ("passed", "back", True)
    assert journal.read(drill.evidence("full") / "journal.jsonl")[-1].kind in ("ended", "notification", "finding")
    assert drill.world.repeated_writes() == []


def test_no_room_at_all_after_the_break(drill: Stage, disk: Path) -> None:
    """Something takes the kept room, too: recovered all the same; the evidence in the store says what is missing."""
    drill.world.set(restore_seconds=2)
    child = drill.start("full")
    drill.wait_for("full", child, is_broken)
    (disk / "full" / ".reserve").unlink()
    fill(disk)
    child.wait(90)
    assert "PASSED" not in child.output or "NOT" in child.output, child.output[-2000:]
    stored = in_the_store(drill, "full")
    report = Report.from_file(stored / "report.json")
    assert (report.verdict, report.service, report.evidence_complete) == ("passed", "back", False)
    assert any("No space left" in f.problem or "did not take" in f.problem for f in report.findings)
    whole = journal.read(stored / "journal.jsonl")
    assert [e for e in whole if e.kind == "ended"]
    here = journal.read(drill.evidence("full") / "journal.jsonl")
    assert here == whole[: len(here)], "what is here is true, and the store has the rest"
    assert str(report.run_id) in child.output
