"""Real drills: a real database is broken, pgBackRest brings it back, and a client outside holds the stopwatch."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.database import outside
from tests.database.the_database import DRILL, TheDatabase
from tests.lab import secret_search, stopwatch
from tests.lab.test_drills import wait_for
from tests.lab.the_lab import DR, ROOT

pytestmark = [pytest.mark.database, pytest.mark.timeout(400)]


def drilled(database: TheDatabase, run_id: str, folder: Path, *argv: str) -> outside.Markers:
    """A drill that passed, and what a client outside missed meanwhile."""
    secrets = outside.secrets(database)
    with stopwatch.poller(database, folder / "poller.log") as log, secret_search.process_list() as processes:
        done = database.drill(run_id, *argv)
    assert done.returncode == 0, done.stdout + done.stderr
    places = outside.places(database, run_id, done.stdout + done.stderr)
    assert secret_search.found(secrets, {**places, "the process list": processes.text}) == []
    report = outside.has_passed(database, run_id, done.stdout)
    assert report.actual.rpo_seconds == 0
    assert f"dr-run: {run_id}" in database.pgbackrest("info", f"--set={database.sets()[-1]}")
    return outside.agrees(database, report, log)


def test_corrupt_pages(database: TheDatabase, run_id: str, tmp_path: Path) -> None:
    """Way a: overwritten pages are restored in place; nothing acknowledged is lost, and checksums are right again."""
    before = database.sql("select count(*) from payments")
    seen = drilled(database, run_id, tmp_path, "--with", "damage=pages")
    assert database.report(run_id).plan["way"] == "delta"
    assert seen == outside.Markers([], [])
    assert database.sql("select count(*) from payments") == before


def test_lost_data_directory(database: TheDatabase, run_id: str, tmp_path: Path) -> None:
    """Way b: the host has nothing left but its archive; the last WAL comes from the standby, and nothing is lost."""
    seen = drilled(database, run_id, tmp_path, "--with", "damage=data-directory")
    assert database.report(run_id).plan["way"] == "full"
    assert seen.lost == []


def test_wrong_delete(database: TheDatabase, run_id: str, tmp_path: Path) -> None:
    """Way c: all rows of a table are deleted by one transaction; recovery stops just before it, and says so."""
    seen = drilled(database, run_id, tmp_path, "--with", "damage=wrong-delete")
    report = database.report(run_id)
    assert report.plan["way"] == "point-in-time"
    assert seen.lost == []
    assert seen.given_up  # what was written between the DELETE and the fence
    left = "select count(*) from pg_file_settings where name like 'recovery_target%' or name = 'restore_command'"
    assert database.sql(left) == "0"  # they would decide the next recovery, too
    [stop] = [c for a in report.applications for c in a.checks if c.name == "stop point"]
    assert stop.observed.startswith("before transaction ")


def test_two_at_once(database: TheDatabase, run_id: str) -> None:
    """The second is refused while the first restores, names it, and touches nothing; the first passes."""
    command = [*DR, *DRILL, "--run-id", run_id, "--with", "damage=pg-wal"]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(database, run_id, first, "intent", "database_restore.stop", seconds=90)
    second = database.drill(f"{run_id[:30]}-second")
    assert second.returncode == 3, second.stdout + second.stderr
    assert run_id in second.stderr
    assert first.wait(timeout=120) == 0
    outside.has_passed(database, run_id, "")
