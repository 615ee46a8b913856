"""Every day: backups of the database and of the files, and the proof that they can be restored. Red, and why."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from runbooks import site as sites
from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from runbooks.hosts import BackupKind as Kind
from runbooks.model import now
from runbooks.records import CheckStatus
from runbooks.site import Site
from tasks import database_backups, database_daily, database_server, file_daily, history, pgbackrest
from tasks.history import Entry
from tests.database.repositories import Bucket, configured, slowing_down
from tests.database.the_database import TheDatabase
from tests.lab.the_lab import DR, ROOT

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]
STORE, FILES = "rows:orders", "files:documents"


@pytest.fixture
def site(database: TheDatabase) -> Site:
    """Every file of its repository is read seldom: that takes a while in S3, and only some tests are about it."""
    return reading("weekly", sites.load("lab"))


def reading(often: str, site: Site) -> Site:
    [database] = site.databases
    assert database.restore_test is not None
    test = database.restore_test.model_copy(update={"read_all": often})
    return site.model_copy(update={"databases": (database.model_copy(update={"restore_test": test}),)})


def last(site: Site, store: str = STORE) -> Entry:
    return history.read(site, (store,), last=1)[-1]


def bad(entry: Entry) -> dict[str, str]:
    return {check.name: check.observed for check in entry.checks if check.status is not CheckStatus.PASSED}


def told(lab: TheDatabase) -> list[str]:
    """What the channel was told."""
    lines = Path(lab.env["SLACK_LOG"]).read_text().splitlines()
    return [json.dumps(json.loads(line), ensure_ascii=False) for line in lines]


def scratch(lab: TheDatabase) -> list[str]:
    """What is in the folder of the restore test, and who works there."""
    folder = lab.folder() / "restore-test"
    working = [str(p.pid) for p in processes() if p.folder.startswith(str(folder))]
    return [*(os.listdir(folder) if folder.exists() else []), *working]


class Process(NamedTuple):
    pid: int
    argv: list[str]
    folder: str


def processes() -> Iterator[Process]:
    for path in Path("/proc").glob("[0-9]*"):
        try:
            argv = (path / "cmdline").read_text().split("\0")[:-1]
            yield Process(int(path.name), argv, os.readlink(path / "cwd"))
        except OSError:
            continue


def verify(site: Site, run_id: str) -> Entry:
    """What a verification came to, green or red."""
    with suppress(RecoveryError):
        database_daily.verify(site, "orders", run=run_id)
    return last(site)


def verify_files(site: Site, run_id: str) -> Entry:
    with suppress(RecoveryError):
        file_daily.verify(site, "documents", run=run_id)
    return last(site, FILES)


def back_up(site: Site, run_id: str, kind: Kind = Kind.INCREMENTAL) -> str:
    return database_daily.back_up(site, "orders", kind, run=run_id, due=now())


def test_green_day(database: TheDatabase, site: Site, run_id: str) -> None:
    """All four are green, in the history with how long they took and how old the data was; production was left alone,
    nothing is left beside it, nobody was told anything, and no secret is in what is kept."""
    quiet = len(told(database))  # but for the file set, which is overdue until it is backed up
    due = now() - timedelta(seconds=1)
    database_daily.back_up(site, "orders", Kind.FULL, run=run_id, due=due)
    sets = database.sets()
    made = last(site)
    assert (made.ok, made.kind, made.backup) == (True, "full", sets[-1])
    database_daily.back_up(site, "orders", Kind.FULL, run=run_id, due=now())  # a retry of the same run
    database_daily.back_up(site, "orders", Kind.INCREMENTAL, run=f"{run_id}-i", due=due)  # due at the same time
    assert database.sets() == sets
    tested = verify(reading("daily", site), run_id)
    assert (tested.problem, tested.backup, bad(tested)) == (None, sets[-1], {})
    assert tested.data_age_seconds is not None
    assert tested.data_age_seconds < 120
    assert tested.seconds > 1
    assert {
        "orders",
        "sequences",
        "pg_amcheck",
        "page checksums",
        "WAL up to now",
        "repository read by pgBackRest",
    } <= {c.name for c in tested.checks}
    file_daily.back_up(site, "documents", run=run_id)
    file_daily.verify(site, "documents", run=run_id)
    assert [(e.what, e.ok) for e in history.read(site, (FILES,), last=2)] == [("backup", True), ("verification", True)]
    assert scratch(database) == []
    assert [said for said in told(database)[quiet:] if "OVERDUE" not in said] == []
    shown = database.dr("backups", "history", "--site", "lab", "--json", "--last", "2")
    assert (shown.returncode, [one["problem"] for one in json.loads(shown.stdout)]) == (0, [None] * 4)
    keys = re.findall(r"^repo1-s3-key\S*=(\S+)", (database.folder() / "pgbackrest.conf").read_text(), re.MULTILINE)
    assert [key for key in keys if key in shown.stdout] == []


def test_restored_on_another_host(database: TheDatabase, site: Site, run_id: str) -> None:
    """By the standby's hands, from the repository that is known there; the database's own host only answers."""
    [one] = site.databases
    assert one.restore_test is not None
    folder = database.folder("b") / "restore-test"
    test = one.restore_test.model_copy(update={"host": "db-b", "folder": str(folder)})
    back_up(site, run_id)
    database.sql("select pg_switch_wal()")
    made = database.sets()[-1]
    asked = 'pgbackrest --config="$1" --stanza=lab info', str(database.folder("b") / "pgbackrest.conf")
    database.until(lambda: made in database.on_host(*asked), "its replica")
    elsewhere = site.model_copy(update={"databases": (one.model_copy(update={"restore_test": test}),)})
    with ThreadPoolExecutor(1) as pool:
        tested, seen = pool.submit(verify, elsewhere, run_id), set[str]()
        while not tested.done():
            seen |= {p.folder for p in processes() if p.folder.endswith("/restore-test/data")}
            time.sleep(0.05)
    assert (tested.result().problem, tested.result().backup) == (None, made)
    assert seen == {f"{folder}/data"}
    assert (list(folder.iterdir()), scratch(database)) == ([], [])


def test_one_flipped_byte(database: TheDatabase, site: Site, run_id: str) -> None:
    """pgBackRest's own verify ends with 0; the verification is red, by what verify says and by what a restore does. The
    channel is told, with a hint."""
    back_up(site, run_id)
    bucket = Bucket(database, "pgbackrest")
    newest = database.sets()[-1]
    with bucket.flipped(bucket.keys(f"{newest}/bundle")[-1]):
        red = verify(reading("daily", site), run_id)
    assert "checksum invalid: 1" in bad(red)["repository read by pgBackRest"]
    assert f"backup {newest} cannot be restored" in bad(red)["restore test"]
    assert red.slack == "sent"
    assert f"VERIFICATION RED: {STORE}" in told(database)[-1]
    assert "HINT" in told(database)[-1]
    assert scratch(database) == []


def test_one_flipped_byte_in_files(database: TheDatabase, site: Site, run_id: str) -> None:
    """restic's plain check does not see it; after as many days as there are parts one was red, and told."""
    bucket = Bucket(database, "restic")
    days = range(site.file_set("documents").check_parts)
    with bucket.flipped(bucket.keys("/data/")[-1]):
        red = next(found for day in days if not (found := verify_files(site, f"{run_id}-{day}")).ok)
    assert "keep the repository as it is" in str(red.hint)  # said by check, or by a restore of that very file
    assert red.slack == "sent"
    assert f"VERIFICATION RED: {FILES}" in told(database)[-1]


def test_wal_that_is_missing_and_archiving_that_is_dead(database: TheDatabase, site: Site, run_id: str) -> None:
    """pgBackRest says nothing of a deleted segment. An archive_command that fails is red while the backup is good."""
    back_up(site, run_id)
    database.sql("select pg_switch_wal()")
    database.pgbackrest("check")
    bucket = Bucket(database, "pgbackrest")
    lost = sorted(bucket.keys("archive/lab/15-1/"), key=lambda key: key.rpartition("/")[2])
    segment = next(key for key in reversed(lost) if re.search(r"/[0-9A-F]{24}-", key))
    database.sql("alter system set archive_command = 'false'")
    try:
        database.sql("select pg_reload_conf()")
        database.sql("create table if not exists spoilt (); select pg_switch_wal()")
        until = time.monotonic() + 20
        while database.sql("select last_failed_time is null from pg_stat_archiver") == "t":
            assert time.monotonic() < until
            time.sleep(0.2)
        with bucket.gone(segment):
            red = verify(site, run_id)
    finally:
        database.sql("alter system reset archive_command")
        database.sql("select pg_reload_conf()")
        database.sql("drop table spoilt")
    assert bad(red)["WAL up to now"] == (f"missing: {segment.rpartition('/')[2][:24]}; no backup lies behind the gap")
    assert bad(red)["archiving"].startswith("the last try failed")
    database.pgbackrest("check")


def test_stopped(database: TheDatabase, site: Site, run_id: str) -> None:
    """`pgbackrest stop` is told apart from a lock: nothing is waited for."""
    database.pgbackrest("stop")
    try:
        with pytest.raises(pgbackrest.Stopped, match="stop file exists"):
            back_up(site, run_id)
    finally:
        database.pgbackrest("start")
    red = last(site)
    assert "pgbackrest --stanza=lab start" in str(red.hint)
    assert (red.what, red.kind, red.slack) == ("backup", "incremental", "sent")


@contextmanager
def backup_in_progress(lab: TheDatabase) -> Iterator[int]:
    """A full one, which was stopped in the middle by SIGSTOP; it ends well afterwards."""
    argv = ["pgbackrest", f"--config={lab.folder() / 'pgbackrest.conf'}", "--stanza=lab", "--type=full", "backup"]
    thread = threading.Thread(target=lambda: lab.on_host('"$@"', *argv))
    thread.start()
    lock = lab.folder() / "lock" / "lab-backup.lock"
    until = time.monotonic() + 30
    while not (lock.exists() and lock.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    pid = next(p.pid for p in processes() if p.argv == argv)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        thread.join()


def test_backup_in_progress(database: TheDatabase, site: Site, run_id: str) -> None:
    """It is waited for; when the time is up, who holds the stanza is named. When it has ended, it is enough."""
    due = now()
    limits = site.databases[0].backups
    assert limits is not None
    short = limits.model_copy(update={"within": timedelta(seconds=2)})
    hasty = site.model_copy(update={"databases": (site.databases[0].model_copy(update={"backups": short}),)})
    with backup_in_progress(database) as pid:
        with pytest.raises(Unavailable, match=f"is locked by pid {pid}: pgbackrest .* backup"):
            back_up(hasty, run_id)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(database_daily.back_up, site, "orders", Kind.INCREMENTAL, run=run_id, due=due)
            time.sleep(1.5)
            os.kill(pid, signal.SIGCONT)
            assert waiting.result(60)
    assert last(site).backup == database.sets()[-1]
    assert database.sets()[-1].endswith("F")


def s3(lab: TheDatabase) -> int:
    return int(json.loads((lab.root / "run" / "s3-a.json").read_text())["pid"])


def configured_by(site: Site, path: Path, **others: str) -> Site:
    [database] = site.databases
    assert database.server is not None
    server = database.server.model_copy(update={"config": str(path)})
    return site.model_copy(update={"databases": (database.model_copy(update={"server": server, **others}),)})


def ask(site: Site) -> str:
    """How asking the repository fails."""
    database = database_server.backed_up(site, "orders")
    assert database.server is not None
    with database_server.connected(site, database, database.server) as postgres:
        try:
            database_backups.read(postgres)
        except RecoveryError as error:
            return f"{type(error).__name__}: {error.problem}\n{error.hint}"
    return "it answers"


def test_repository_that_is_away(database: TheDatabase, site: Site) -> None:
    """Refusing, hanging, out of breath, or not letting us in: each is told as what it is, within half a minute."""
    config = database.folder() / "pgbackrest.conf"

    def with_config(path: Path) -> str:
        return ask(configured_by(site, path))

    with (
        slowing_down(database) as port,
        configured(database, "key", ("repo1-s3-key-secret", "wrong")) as wrong,
        configured(database, "refused", ("repo1-storage-port", "9")) as refused,
        configured(database, "slow", ("repo1-storage-port", str(port))) as slow,
        ThreadPoolExecutor(4) as pool,
    ):
        keys = with_config(wrong)
        server = s3(database)
        began = time.monotonic()
        os.kill(server, signal.SIGSTOP)
        try:
            answers = [job.result() for job in [pool.submit(with_config, p) for p in (refused, config, slow)]]
        finally:
            os.kill(server, signal.SIGCONT)
    assert time.monotonic() - began < 40
    assert keys.startswith("Refused: pgbackrest info of stanza lab")
    assert "403 (Forbidden)" in keys
    assert "are the key, the bucket and the endpoint" in keys
    for answer, why in zip(answers, ("Connection refused", "timeout", "503"), strict=True):
        assert answer.startswith("Unavailable: pgbackrest info of stanza lab"), answer
        assert why in answer, answer


def test_backup_over_corrupt_pages(database: TheDatabase, site: Site, run_id: str) -> None:
    """pgBackRest ends with 0, and says nothing of the next incremental one; both are red, and neither is used."""
    # Autovacuum would write its own page over the damage before the backup reads it.
    database.sql("create table corrupted with (autovacuum_enabled = off) as select generate_series(1, 5000)")
    database.sql("checkpoint")
    sound = database.sets()[-1]
    file = database.data / database.sql("select pg_relation_filepath('corrupted')")
    with file.open("r+b") as pages:
        pages.seek(8192 + 100)
        pages.write(b"\xff" * 64)
    try:
        for kind in (Kind.FULL, Kind.INCREMENTAL):
            with pytest.raises(NotRecovered, match="holds corrupt pages, or builds on one that does"):
                back_up(site, f"{run_id}-{kind}", kind)
        red = verify(site, run_id)
        damaged = database.sets()[-2:]
        assert bad(red)["backups without corrupt pages"] == f"corrupt: {', '.join(damaged)}"
        assert red.backup == sound
    finally:
        database.sql("drop table corrupted; checkpoint")
        database.pgbackrest(f"--set={database.sets()[-2]}", "expire")
        with pytest.raises(NotRecovered, match="is not later than latest backup label") as error:
            back_up(site, f"{run_id}-again")
        assert "--kind full" in error.value.hint
        back_up(site, f"{run_id}-anew", Kind.FULL)


def start(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*DR, "backups", *argv, "--site", "lab"], cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip


def kill_at(line: str, *argv: str) -> None:
    """SIGKILL from outside, as soon as it says so."""
    process = start(*argv)
    assert process.stderr is not None
    seen = next((said for said in process.stderr if line in said), None)
    process.kill()
    process.wait()
    assert seen is not None, f"it never said {line}"


def test_killed_and_two_at_once(database: TheDatabase, site: Site, run_id: str) -> None:
    """The next restore test takes away what a killed one left, be it a restore that runs on or a server; a second one
    beside it leaves its copy alone."""
    table = "[databases.restore_test]"
    with database.site((table, f'{table}\nread_all = "weekly"')):
        for line in ("restoring backup", "restored and started", "passed: pg_amcheck"):
            kill_at(line, "verify", "--database", "orders")
            assert scratch(database) != [], line
        process = start("verify", "--database", "orders")
        assert process.stderr is not None
        said = [next(line for line in process.stderr if "restoring backup" in line)]
        red = verify(site, run_id)
        assert "another restore test is at work in" in bad(red)["restore test"]
        said += list(process.stderr)
        assert (process.wait(), scratch(database)) == (0, []), said


def test_backup_killed(database: TheDatabase, site: Site, run_id: str) -> None:
    """It does not run on, and the next one is made."""
    before = database.sets()
    kill_at("pgbackrest backup --type=full", "make", "--database", "orders", "--kind", "full")
    back_up(site, run_id)
    assert database.sets()[len(before) :] == [last(site).backup]


def test_two_backups_at_once(database: TheDatabase, site: Site, run_id: str) -> None:
    """Each is made, one after another."""
    due = now() + timedelta(hours=1)  # no other one is enough
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(database_daily.back_up, site, "orders", Kind.INCREMENTAL, run=f"{run_id}-{n}", due=due)
                for n in (1, 2)]  # fmt: skip
        assert len({job.result() for job in jobs}) == 2


def test_stanza_that_vanished(database: TheDatabase, site: Site, run_id: str) -> None:
    """A new one in its place would hide that the history is gone."""
    back_up(site, run_id)
    with configured(database, "vanished") as path:
        path.write_text(path.read_text().replace("[lab]", "[vanished]"))
        with pytest.raises(Refused, match="stanza vanished is gone from its repository; it held backup"):
            back_up(configured_by(site, path, stanza="vanished"), run_id)
