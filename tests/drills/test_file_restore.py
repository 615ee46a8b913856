"""Files come back from restic, exactly those that are gone; or the run says that they did not."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbooks.journal import Entry
from runbooks.model import now, rfc3339
from runbooks.verdict import Verdict
from tests.drills.awaiting import readings
from tests.drills.file_stage import DRILL, INCIDENT, ODD, PASSWORD, FileStage, stage
from tests.zygote import Zygote

COUNT = 6 + len(ODD) + 1
"""All that the snapshot holds: root, 2026, deep, empty, link, 12345.txt, the odd names, and one that is not UTF-8."""


@pytest.fixture(scope="module")
def whole_stage(forks: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileStage]:
    with stage(forks, tmp_path_factory.mktemp("files")) as made:
        yield made


@pytest.fixture
def files(whole_stage: FileStage) -> FileStage:
    whole_stage.reset()
    return whole_stage


def checks(files: FileStage, run_id: str) -> dict[str, tuple[str, str]]:
    return {c.name: (c.observed, c.status) for c in files.report(run_id).applications[0].checks}


def beside(files: FileStage) -> list[str]:
    """What lies beside the set."""
    return sorted(set(os.listdir(files.root.parent)) - {"documents"})


def test_missing_file(files: FileStage) -> None:
    """Exactly it comes back; what was written since the snapshot is not touched."""
    before = files.listing()
    (files.root / "2026" / "deep" / "12345.txt").unlink()
    (files.root / "2026" / "a b").write_text("changed after the snapshot, before the fault")
    changed = files.listing()["2026/a b"]
    (files.root / "new.txt").write_text("new")
    time.sleep(0.01)  # `--fault-at` is in whole milliseconds
    report = files.run("missing", *INCIDENT, "--fault-at", rfc3339(now()))
    assert report.verdict is Verdict.PASSED, files.reason("missing")
    after = files.listing()
    assert after.pop("2026/a b") == changed
    assert after.pop("new.txt")[-1] == b"new"
    assert after == {path: seen for path, seen in before.items() if path != "2026/a b"}
    [application] = report.applications
    assert (application.way, application.kept) == ("missing", ())
    [store] = application.stores
    assert store.name == "files:documents"
    assert store.bound_seconds is not None
    assert 0 < store.bound_seconds < 3600
    assert report.plan["missing"] == [str(files.root / "2026" / "deep" / "12345.txt")]
    assert report.plan["changed_since"] == [str(files.root / "2026" / "a b")]
    assert beside(files) == []


def test_damaged_set(files: FileStage) -> None:
    """Everything is as it was, to the nanosecond; the damaged set is kept aside, whole."""
    before = files.listing()
    for path in files.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.write_bytes(b"encrypted")
    shutil.rmtree(files.root / "empty")
    report = files.run("damaged", *INCIDENT)
    assert report.verdict is Verdict.LATE, files.reason("damaged")  # nobody knows when it broke
    del before["cache.tmp"]
    assert files.listing() == before
    [application] = report.applications
    [kept] = application.kept
    assert kept == f"files-a:{files.root.parent}/.dr-runbooks-damaged/aside/1"
    old = Path(f"{kept.removeprefix('files-a:')}{files.root}")
    assert (old / "2026" / "ünï").read_bytes() == b"encrypted"
    assert (old / "cache.tmp").exists()
    assert PASSWORD not in "".join(p.read_text(errors="replace") for p in files.folder.glob("evidence/damaged/*"))


def test_lost_set(files: FileStage) -> None:
    """The folder itself is gone: it comes back as one."""
    before = files.listing()
    shutil.rmtree(files.root)
    report = files.run("lost", *INCIDENT, "--fault-at", rfc3339(now()))
    assert report.verdict is Verdict.PASSED, files.reason("lost")
    del before["cache.tmp"]
    assert files.listing() == before


def test_sandbox_drill(files: FileStage) -> None:
    """All is restored beside and compared; the original is not touched, and nothing is left beside it."""
    (files.root / "2026" / "a b").write_text("live")
    before = files.listing()
    report = files.run("sandbox", *DRILL)
    assert report.verdict is Verdict.PASSED, files.reason("sandbox")
    assert files.listing() == before
    assert beside(files) == []
    assert report.applications[0].way == "beside"
    assert checks(files, "sandbox")["files of files:documents restored beside"][0] == f"{COUNT} compared, 0 different"


def test_one_path(files: FileStage) -> None:
    """Only that folder is put back, though more is damaged; and what stood there is aside."""
    (files.root / "2026" / "deep" / "12345.txt").write_text("wrong")
    (files.root / "2026" / "a b").write_text("wrong, too, but not asked for")
    report = files.run("path", *INCIDENT, "--with", "path=2026/deep")
    assert report.verdict is Verdict.LATE, files.reason("path")  # nobody knows when it broke
    assert (files.root / "2026" / "deep" / "12345.txt").read_text() == "199.90"
    assert (files.root / "2026" / "a b").read_text() == "wrong, too, but not asked for"


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (("--backup", "deadbeef"), "has 0 snapshots 'deadbeef'"),
        (("--with", "path=../../etc"), "is not in files:documents"),
        (("--with", "path=/etc/passwd"), "'/etc/passwd' is not in files:documents"),
        (("--with", "path=2026/nothing"), "does not hold"),
        (("--with", "file-set=other"), "has 1 file sets, and other was named"),
        (("--fault-at", "2026-01-01T00:00:00Z"), "no snapshot of files:documents can be restored"),
        ((), "is missing or damaged in files:documents"),
    ],
)
def test_bad_input(files: FileStage, argv: tuple[str, ...], problem: str) -> None:
    """Refused with what is wrong; nothing was changed."""
    before = files.listing()
    report = files.run("bad", *INCIDENT, *argv)
    assert report.verdict is Verdict.REFUSED
    assert problem in files.reason("bad")
    assert files.listing() == before
    assert beside(files) == []


def wrong_password(files: FileStage) -> None:
    (files.folder / "password").write_text("another")


def repository_away(files: FileStage) -> None:
    (files.folder / "repository" / "config").unlink()


@pytest.mark.parametrize(
    ("harm", "verdict", "problem"),
    [
        (wrong_password, Verdict.REFUSED, "wrong password or no key found"),
        (repository_away, Verdict.REFUSED, "unable to open config file"),
    ],
)
def test_repository_in_trouble(
    files: FileStage, harm: Callable[[FileStage], None], verdict: Verdict, problem: str
) -> None:
    """It is said, and nothing was changed."""
    (files.root / "2026" / "a b").unlink()
    before = files.listing()
    harm(files)
    try:
        assert files.run("trouble", *INCIDENT).verdict is verdict
    finally:
        (files.folder / "password").write_text(PASSWORD)
    assert problem in files.reason("trouble")
    assert files.listing() == before


def test_damaged_repository(files: FileStage) -> None:
    """What cannot be restored whole is not put in its place."""
    (files.root / "2026" / "a b").unlink()
    before = files.listing()
    for pack in (files.folder / "repository" / "data").glob("*/*"):
        pack.chmod(0o600)
        pack.write_bytes(bytes(byte ^ (n % 16 == 0) for n, byte in enumerate(pack.read_bytes())))
    report = files.run("harmed", *INCIDENT)
    assert report.verdict in (Verdict.NOT_RECOVERED, Verdict.REFUSED)
    assert files.listing() == before


def test_altered_while_it_lay_beside(files: FileStage) -> None:
    """A restored file that is not what the snapshot holds, with size and time as they were: not recovered."""
    (files.root / "2026" / "deep" / "12345.txt").unlink()
    before = files.listing()
    run = files.start("altered", *INCIDENT)
    files.wait_for("altered", run, lambda e: e.kind == "done" and e.step == "file_returns.restore_beside")
    run.kill()
    [copy] = (files.root.parent / ".dr-runbooks-altered" / "restored").rglob("12345.txt")
    time_ns = copy.stat().st_mtime_ns
    copy.write_text("199.91")
    os.utime(copy, ns=(time_ns, time_ns))
    resumed = files.resume("altered")
    assert resumed.wait(280) == 1
    report = files.report("altered")
    assert report.verdict is Verdict.NOT_RECOVERED
    assert f"files:documents {files.root}/2026/deep/12345.txt content" in checks(files, "altered")
    assert files.listing() == before
    assert any(".dr-runbooks-altered" in f.problem for f in report.findings)


def test_altered_in_its_place(files: FileStage) -> None:
    """Nor is it when that happens after it was put in its place."""
    (files.root / "2026" / "deep" / "12345.txt").unlink()
    run = files.start("later", *INCIDENT)
    files.wait_for("later", run, lambda e: e.kind == "done" and e.step == "file_returns.put_in_place")
    run.kill()
    place = files.root / "2026" / "deep" / "12345.txt"
    time_ns = place.stat().st_mtime_ns
    place.write_text("199.91")
    os.utime(place, ns=(time_ns, time_ns))
    assert files.resume("later").wait(280) == 1
    assert files.report("later").verdict is Verdict.NOT_RECOVERED


def test_killed_everywhere(files: FileStage) -> None:
    """Killed after each step and at each write, it goes on where it was, and does nothing twice."""
    before = files.listing()
    for path in (files.root / "2026").rglob("*"):
        if path.is_file():
            path.write_bytes(b"encrypted")
    child, kills = files.start("killed", *INCIDENT), 0
    known: set[tuple[object, ...]] = set()
    while child.poll() is None:
        for entries in readings(files.evidence("killed") / "journal.jsonl", child, 280):
            if child.poll() is None and _written(entries) - known:
                child.kill()
                child.wait()
                known, kills = _written(files.journal("killed")), kills + 1
                child = files.resume("killed")
                break
    report = files.report("killed")
    assert report.verdict is Verdict.LATE, files.reason("killed")
    assert kills > 10
    assert len(report.attempts) == kills + 1
    del before["cache.tmp"]
    assert files.listing() == before
    assert report.applications[0].kept == (f"files-a:{files.root.parent}/.dr-runbooks-killed/aside/1",)
    steps = [e.step for e in files.journal("killed") if e.kind == "done" and e.step != "locks.acquire"]
    assert len([s for s in steps if s and not s.startswith("probes.ensure")]) == len(
        {s for s in steps if s and not s.startswith("probes.ensure")}
    )


def _written(entries: list[Entry]) -> set[tuple[object, ...]]:
    """The steps that were done, and the writes that were begun."""
    return {(e.kind, e.step, e.data.get("what")) for e in entries if e.kind in ("done", "write")}


def test_dry_run(files: FileStage) -> None:
    """The plan is made, and nothing changed."""
    (files.root / "2026" / "a b").unlink()
    before = files.listing()
    child = files.start("dry", *INCIDENT, "--dry-run")
    assert child.wait(280) == 0
    assert '"way": "missing"' in child.output
    assert files.listing() == before
