"""What is broken around a database while it is brought back: refused before anything is changed, or told truthfully."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks import site as sites
from runbooks.errors import NotRecovered, Refused, Unavailable
from tasks import database_files, database_plan, database_restore, database_server, database_symptoms
from tasks.cases import Attempt, Case
from tests.database import repositories, withheld
from tests.database.repositories import Bucket
from tests.database.test_daily import processes
from tests.database.test_wrong_turns import case_of, planned
from tests.database.the_database import AS_POSTGRES, TheDatabase

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]
SLEEP = "select pg_sleep(100)"
TWENTY_MEGABYTES = b"size=20m"


def is_refused(database: TheDatabase, run_id: str, names: str) -> None:
    """A drill that did not begin: nothing was written to the world, and the reason is named."""
    before = database.sql("checkpoint; select pg_postmaster_start_time()")
    done = database.drill(run_id)
    assert done.returncode == 3, done.stdout + done.stderr
    assert names in done.stderr
    assert database.report(run_id).verdict == "refused"
    assert database.sql("select pg_postmaster_start_time()") == before


def test_host_key_changed(database: TheDatabase, run_id: str) -> None:
    """Another machine answers at the address: it is not told anything."""
    port = database.env["SSH_A"].rpartition(":")[2]
    other = database.env["SSH_B"].rpartition(":")[2]
    with database.site((f"port = {port}", f"port = {other}")):
        is_refused(database, run_id, "host key")


def test_host_refuses(database: TheDatabase, run_id: str) -> None:
    """Nobody listens there."""
    with database.site((f"port = {database.env['SSH_A'].rpartition(':')[2]}", "port = 1")):
        is_refused(database, run_id, "db-a")


def test_stop_file(database: TheDatabase, run_id: str) -> None:
    """Somebody has stopped pgBackRest: nothing is archived, so a drill would lose what it is to bring back."""
    database.pgbackrest("stop")
    try:
        is_refused(database, run_id, "stop")
    finally:
        database.pgbackrest("start")


def test_wrong_key_of_the_repository(database: TheDatabase, run_id: str) -> None:
    """It was revoked: told before anything is broken, with the host's own words."""
    with repositories.configured(database, "revoked", ("repo1-s3-key-secret", "0" * 40)) as config:
        mine = f'config = "{database.folder() / "pgbackrest.conf"}"'
        with database.site((mine, f'config = "{config}"')):
            is_refused(database, run_id, "pgbackrest.conf right, and not revoked?")


def test_corrupt_file_in_the_repository(database: TheDatabase, run_id: str) -> None:
    """pgBackRest finds it when the old directory is aside: red, clients stay out, and nothing is deleted."""
    bucket = Bucket(database, "pgbackrest")
    bundle = bucket.keys(f"/backup/lab/{database.sets()[-1]}/bundle/")[-1]
    with bucket.flipped(bundle):
        done = database.drill(run_id, "--with", "damage=data-directory")
    assert done.returncode == 1, done.stdout + done.stderr
    report = database.report(run_id)
    assert report.verdict == "not_recovered"
    assert "pgbackrest restore on db-a" in done.stderr
    assert (database.folder() / f"data.lost-{run_id}" / "PG_VERSION").exists()
    assert any("the old data directory lies in" in one.problem for one in report.findings)


def test_wrong_user(database: TheDatabase, run_id: str) -> None:
    """The host does not let that one in: told with its name, and nobody is asked for a password."""
    with database.site(('user = "postgres"\nkey_file', 'user = "nobody"\nkey_file')):
        is_refused(database, run_id, "nobody")


def test_cut_off_and_then_not_starting(database: TheDatabase, tmp_path: Path) -> None:
    """The connection ends in the middle of the restore, which ends with it; made again, one that still hangs there is
    ended first. The server does not start over a wrong setting, in its own words. Once that is mended, the run goes on
    to its end."""
    with withheld.between(database) as network:
        case = case_of(tmp_path, way="full")
        planned(case)
        for step in (database_restore.stop, database_restore.set_aside):
            step(case)
        threading.Thread(target=_cut_in_restore, args=(network, database)).start()
        with pytest.raises(Unavailable, match="the connection broke while pgbackrest on db-a ran"):
            database_restore.restore(case)
        database.until(lambda: not restoring(database), "end of the restore")
        begin_a_restore(database)
        database_restore.restore(case)
    assert restoring(database) == []
    assert any("a restore that was begun before is ended" in str(e.data) for e in case.journal.of("event"))
    settings = database.data / "postgresql.auto.conf"
    right = settings.read_text()
    settings.write_text(f"{right}work_memory = 4MB\n")
    case = going_on(case)
    with pytest.raises(NotRecovered, match=r"configuration file .*postgresql.auto.conf.* contains errors"):
        database_restore.recover(case)
    settings.write_text(right)
    assert database_restore.recover(case).reason == "no recovery target specified"


def going_on(case: Case) -> Case:
    """The same run, with the site file as it is now."""
    return Case(case.run_id, case.request, Attempt(), sites.load("lab"), case.journal)


def restoring(database: TheDatabase) -> list[int]:
    config = f"--config={database.folder() / 'pgbackrest.conf'}"
    return [p.pid for p in processes() if p.argv[:1] == ["pgbackrest"] and {config, "restore"} <= set(p.argv)]


def begin_a_restore(database: TheDatabase) -> None:
    """As a killed attempt leaves it on a host that has not heard of that, and has other things to do."""
    database.on_host('rm -rf "$1"; mkdir -m 700 "$1"', str(database.data))
    argv = [*AS_POSTGRES, "pgbackrest", f"--config={database.folder() / 'pgbackrest.conf'}", "--stanza=lab", "restore"]
    process = subprocess.Popen(argv, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    threading.Thread(target=process.wait).start()
    database.until(lambda: restoring(database), "a restore")
    os.kill(process.pid, signal.SIGSTOP)


def _cut_in_restore(network: withheld.Network, database: TheDatabase) -> None:
    database.until(lambda: restoring(database), "a restore")
    time.sleep(0.2)
    network.cut()


@contextmanager
def small_disk(database: TheDatabase) -> Iterator[Path]:
    """A disk of 20 MB, on which a database of 30 MB is to be restored."""
    libc, folder = ctypes.CDLL(None, use_errno=True), database.folder() / "tmp" / "small"
    database.on_host('mkdir -p "$1"', str(folder))
    failed = libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, TWENTY_MEGABYTES)
    assert not failed, os.strerror(ctypes.get_errno())
    try:
        os.chmod(folder, 0o777)
        yield folder
    finally:
        libc.umount2(str(folder).encode(), 2)
        folder.rmdir()


def test_disk_full(database: TheDatabase, tmp_path: Path) -> None:
    """Seen before anything is moved, where it can be; else pgBackRest's own words are told."""
    case = case_of(tmp_path, way="full")
    database_symptoms.look(case)
    plan = database_plan.choose(case)
    with small_disk(database) as folder:
        data = str(folder / "data")
        case.site = case.site.model_copy(update={"databases": tuple(
            one.model_copy(update={"server": one.server and one.server.model_copy(update={"data": data})})
            for one in case.site.databases)})  # fmt: skip
        with pytest.raises(Refused, match="bytes free; a copy needs"):
            database_restore.set_aside(case)
        with database_server.primary(case) as postgres:
            postgres.sh('mkdir -m 700 "$1"', data)
            arguments = [f"--pg1-path={data}", *database_files.arguments_of(plan)]
            with pytest.raises(NotRecovered, match=r"pgbackrest restore on db-a .*(space|Space|ENOSPC|write)"):
                database_files.follow(case, postgres, arguments, plan.source.size_bytes)


def test_server_that_does_not_stop(database: TheDatabase, tmp_path: Path) -> None:
    """The site's command fails, and a backend is stuck: ended by force, and proven dead."""
    case = case_of(tmp_path)
    case.site = case.site.model_copy(update={"databases": tuple(
        one.model_copy(update={"server": one.server and one.server.model_copy(update={"stop": ("false",)})})
        for one in case.site.databases)})  # fmt: skip
    client = subprocess.Popen(
        [f"{database.programs}/psql", database.env["PGURI_A"], "-qAtXc", SLEEP], stderr=subprocess.DEVNULL
    )
    sleeping = f"select coalesce(max(pid), 0) from pg_stat_activity where query = '{SLEEP}' and wait_event is not null"
    database.until(lambda: database.sql(sleeping) != "0", "the stuck backend")
    os.kill(int(database.sql(sleeping)), signal.SIGSTOP)
    with database_server.primary(case) as postgres:
        case.enter("restore")
        database_restore.ensure_stopped(case, postgres)
        assert postgres.processes() == []
    client.wait(timeout=20)
    database.start()


def test_zombie_postmaster(database: TheDatabase, tmp_path: Path) -> None:
    """It is dead, though its pid is in postmaster.pid and in the list of processes: nothing is waited for or killed."""
    database.stop(mode="immediate")
    zombie = subprocess.Popen([f"{database.programs}/postgres", "--version"], stdout=subprocess.DEVNULL)
    status = Path(f"/proc/{zombie.pid}/status")
    database.until(lambda: "State:\tZ" in status.read_text(), "a zombie")
    database.on_host('echo "$2" >"$1"', str(database.data / "postmaster.pid"), str(zombie.pid))
    case = case_of(tmp_path)
    began = time.monotonic()
    with database_server.primary(case) as postgres:
        database_restore.ensure_stopped(case, postgres)
    assert time.monotonic() - began < timedelta(seconds=10).total_seconds()
    assert [e for e in case.journal.entries if e.kind == "write"] == []
    zombie.wait()
    database.on_host('rm -f "$1"', str(database.data / "postmaster.pid"))
    database.start()
