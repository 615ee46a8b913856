"""What a person breaks is found and brought back; one table alone; by a standby; and in a copy beside the original."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runbooks import site as sites
from runbooks.hosts import BackupKind as Kind
from runbooks.model import now, rfc3339
from runbooks.report_schema import Report
from tasks import archives, database_backups, database_daily, database_server
from tasks.clients import route53
from tests.database import repositories
from tests.database.the_database import SCENARIO, TheDatabase
from tests.lab.the_lab import DR, ROOT

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]
INCIDENT = ("run", SCENARIO, "--site", "lab", "--mode", "incident", "--yes", "--no-server")
SANDBOX = ("run", SCENARIO, "--site", "lab", "--mode", "drill", "--impact", "sandbox", "--yes", "--no-server")
TABLE = "table=payments"
TOUCHED = "select pg_postmaster_start_time(), pg_read_file(current_setting('hba_file'))"
REST = "select md5(string_agg(p::text, ',' order by id)) from payments p where id not in (5, 6, 7, 30001)"
CLIENTS = """update payments set amount = 777 where id = 5; delete from payments where id = 7;
    insert into payments values (30001, 1, 5)"""
WRONG = """begin; update payments set amount = 0 where id < 1000; delete from payments where id > 19000;
    insert into payments values (30000, 1, 1); commit"""
OVERWRITE = 'dd if=/dev/urandom of="$1" bs=8192 seek=3 count=2 conv=notrunc status=none'


class Incident:
    """A run in the background, which waits for a person; it ends with its block."""

    def __init__(self, database: TheDatabase, run_id: str, *argv: str) -> None:
        self.database, self.run_id, self.asked = database, run_id, 0
        self.begin(*INCIDENT, *argv)

    def begin(self, *argv: str) -> None:
        command = [*DR, *argv, "--run-id", self.run_id]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def __enter__(self) -> Incident:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def plan(self) -> str:
        """All that it has written down up to its question, asked by this process."""
        path, until = self.database.evidence(self.run_id) / "journal.jsonl", time.monotonic() + 90
        while self.process.poll() is None and time.monotonic() < until:
            if path.exists() and (text := path.read_text()).count("waiting for approval") > self.asked:
                self.asked += 1
                return text
            time.sleep(0.2)
        self.kill()
        raise AssertionError(f"it does not ask: {self.process.communicate()[0]}")

    def approved(self) -> Report:
        said = self.database.dr("approve", self.run_id, "--as", "alice", "--why", "seen it", "--loss", "as it says")
        assert said.returncode == 0, said.stderr
        out, _ = self.process.communicate(timeout=240)
        assert self.process.returncode == 0, out[-4000:]
        return self.database.report(self.run_id)


@pytest.fixture
def broken_pages(database: TheDatabase) -> str:
    """Two pages of payments are rubbish, as a failing disk leaves them; since when: no client has seen it yet."""
    since = rfc3339(now())
    file = database.sql("select pg_relation_filepath('payments')")
    database.stop()
    database.on_host(OVERWRITE, str(database.data / file))
    database.start()
    return since


@contextmanager
def detached(database: TheDatabase) -> Iterator[None]:
    """The standby receives nothing meanwhile."""
    follows = database.sql("show primary_conninfo", region="b").replace("'", "''")
    _follow(database, "")
    time.sleep(1)
    try:
        yield
    finally:
        _follow(database, follows)


def _follow(database: TheDatabase, connection: str) -> None:
    database.sql(f"alter system set primary_conninfo = '{connection}'", region="b")
    database.sql("select pg_reload_conf()", region="b")


def test_one_table(database: TheDatabase, run_id: str) -> None:
    """Exactly what the wrong transaction did to the table is undone, with the service up; those that may be meant are
    listed. What clients have written since stays, and is told. Nothing is done before a person agrees; while it waits,
    or lies there dead, nobody drills."""
    before, since = database.sql(REST), rfc3339(now())
    database.sql(WRONG)
    database.sql(CLIENTS)
    wrong = database.sql(REST)
    way = ("--with", "way=table", "--with", "table=payments")
    refused = database.dr(*INCIDENT, *way, "--run-id", f"{run_id}-p", "--dry-run", "--with", f"target_time={since}")
    listed = re.search(r"2 transactions have changed payments since \S+: (\d+) \((\d{4}) changes", refused.stderr)
    assert listed is not None, refused.stderr
    with Incident(database, run_id, *way, "--with", f"target_xid={listed[1]}") as incident:
        assert "rows that somebody has written since stay as they are" in incident.plan()
        incident.kill()
        drill = database.drill(f"{run_id}-drill", "--take-over")
        assert (drill.returncode, f"incident {run_id} is open" in drill.stderr) == (3, True), drill.stderr
        incident.begin("run", SCENARIO, "--site", "lab", "--yes", "--no-server", "--take-over")
        incident.plan()
        assert database.sql(REST) == wrong
        report = incident.approved()
    assert (report.verdict, report.actual.outage_seconds, report.approvals[0].who) == ("passed", 0, "alice")
    assert report.clocks.fault is not None
    assert report.actual.rto_seconds is not None
    assert database.sql(REST) == before
    assert database.sql("select amount from payments where id = 5") == "777.00"
    assert database.sql("select id from payments where id in (7, 30000, 30001)") == "30001"
    assert [f.problem for f in report.findings if "were written again since" in f.problem]
    assert not list(database.folder().glob("data.copy-*"))


def test_pages_that_a_disk_spoilt(database: TheDatabase, broken_pages: str, run_id: str) -> None:
    """The diagnosis finds them and chooses delta; every other way is told with its time and loss. A standby that does
    not follow is not promoted."""
    with detached(database):
        database.sql("insert into markers_rows values ('gap', 0)")
        refused = database.dr(*INCIDENT, "--dry-run", "--run-id", f"{run_id}-p", "--with", "way=promote")
    database.sql("delete from markers_rows where id = 'gap'")
    assert refused.returncode == 3, refused.stdout
    assert "it does not stream" in refused.stderr
    with Incident(database, run_id, "--fault-at", broken_pages) as incident:
        plan = incident.plan()
        report = incident.approved()
    assert all(f'"way":"{way}"' in plan for way in ("delta", "full", "point-in-time", "table", "promote"))
    assert (report.verdict, report.applications[0].way) == ("passed", "delta")
    assert database.is_in_good_order()


@pytest.mark.parametrize(("damage", "ways"), [("pg-wal", {"full"}), ("torn-page", {"delta", "full"})])
def test_crashed(database: TheDatabase, damage: str, ways: set[str], run_id: str) -> None:
    """A killed server without its WAL comes back with what its standby has received; one with half a page written comes
    back in place, or, when it does not start over that page, as a whole. Nothing acknowledged is lost."""
    done = database.drill(run_id, "--with", f"damage={damage}")
    assert done.returncode == 0, done.stdout[-3000:]
    report = database.report(run_id)
    assert (report.verdict, report.actual.markers_lost) == ("passed", 0)
    assert report.applications[0].way in ways


@pytest.mark.usefixtures("name_at_home")
def test_promoted_and_back(database: TheDatabase, run_id: str) -> None:
    """The standby takes over with every record that the old primary had; clients find it by the name; the old one
    follows it, and is promoted in its turn. Which one leads is seen, not read in the site file: by backups, too. A
    recovery from a set of before gets a timeline of its own, on which the standby follows; what was archived elsewhere
    is told as missing."""
    before = database.sql(REST)
    there = database.drill(f"{run_id}-1", "--with", "damage=pages", "--with", "way=promote")
    assert there.returncode == 0, there.stdout[-3000:]
    assert (database.sql("select pg_is_in_recovery()"), database.sql("select pg_is_in_recovery()", region="b")) == (
        "t", "f")  # fmt: skip
    assert database.sql(REST, region="b") == before
    told = database_daily.back_up(sites.load("lab"), "orders", Kind.FULL, run=run_id, due=now())
    label = told.split("backup ")[1].split(",")[0]
    held = database.on_host('pgbackrest --config="$1" --stanza=lab info', str(database.folder("b") / "pgbackrest.conf"))
    assert label in held
    assert label not in database.sets()
    back = database.drill(f"{run_id}-2", "--with", "damage=data-directory", "--with", "way=promote")
    assert back.returncode == 0, back.stdout[-3000:]
    for number in (1, 2):
        report = database.report(f"{run_id}-{number}")
        assert (report.verdict, report.applications[0].way, report.actual.markers_lost) == ("passed", "promote", 0)
    assert database.sql("select pg_is_in_recovery()") == "f"
    assert database.sql(REST) == before
    kept = sites.load("lab").database("orders")
    assert kept.server is not None
    with database_server.connected(sites.load("lab"), kept, kept.server) as postgres:
        told = archives.missing(postgres, database_backups.read(postgres), archives.ask(postgres))
    assert re.fullmatch(rf"missing: .*; backup {database.sets()[-1]} lies behind the gap", told), told
    database.rewind()  # from a set of before: the archive must know the timeline that began on the other host


@pytest.mark.usefixtures("name_at_home")
def test_promoted_without_the_repository(database: TheDatabase, broken_pages: str, run_id: str) -> None:
    """Nothing can be restored: a person is told that the standby could take over, and it does, by its own repository
    protected again."""
    before, config = database.sql(REST, region="b"), str(database.folder() / "pgbackrest.conf")
    with (
        repositories.configured(database, "away", ("repo1-storage-port", "1")) as away,
        database.site((f'"{config}"', f'"{away}"')),
    ):
        refused = database.dr(*INCIDENT, "--dry-run", "--run-id", f"{run_id}-p")
        assert refused.returncode == 3, refused.stdout
        assert "db-b can take over without it: --with way=promote" in refused.stderr
        with Incident(database, run_id, "--with", "way=promote", "--fault-at", broken_pages) as incident:
            assert "a promotion needs no backup" in incident.plan()
            report = incident.approved()
    assert (report.verdict, report.applications[0].way, report.actual.markers_lost) == ("passed", "promote", 0)
    assert (database.sql(REST, region="b"), database.sql("select pg_is_in_recovery()")) == (before, "t")


def sandboxed(database: TheDatabase, run_id: str, *argv: str) -> Report:
    """A drill on a copy that passed; the original was not even touched, and nothing is left of the copy."""
    since = database.sql(TOUCHED)
    done = database.dr(*SANDBOX, "--run-id", run_id, *argv)
    assert done.returncode == 0, done.stdout[-3000:]
    report = database.report(run_id)
    assert (report.verdict, report.actual.rto_seconds, report.actual.outage_seconds) == ("passed", None, 0)
    assert report.actual.rpo_seconds is not None
    assert database.sql(TOUCHED) == since
    assert not list(database.folder().glob("data.copy-*"))
    return report


@pytest.mark.parametrize(
    ("way", "check", "observed"),
    [
        ("point-in-time", "stop point", r"^before transaction \d+"),
        ("table", "rows of payments that transaction", r"^(\d{4,}): \1 rows inserted, 0 set back, 0 removed, "),
    ],
)
def test_sandbox(database: TheDatabase, run_id: str, way: str, check: str, observed: str) -> None:
    """The copy is broken and brought back to just before the wrong transaction, or its rows out of a second copy."""
    report = sandboxed(database, run_id, "--with", "damage=wrong-delete", "--with", f"way={way}", "--with", TABLE)
    assert report.applications[0].way == way
    [seen] = [c for app in report.applications for c in app.checks if c.name.startswith(check)]
    assert re.search(observed, seen.observed), seen.observed


def test_killed_in_a_sandbox(database: TheDatabase, run_id: str) -> None:
    """Both copies of a killed run, which still run, are removed by the next: it promotes a standby of its copy, while
    neither the real standby nor the name that clients ask is touched, and says so."""
    command = [
        *DR,
        *SANDBOX,
        "--run-id",
        run_id,
        "--with",
        "damage=wrong-delete",
        "--with",
        "way=table",
        "--with",
        TABLE,
    ]
    killed = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    database.until(lambda: list(database.folder().glob("data.copy-*/beside/run/.s.PGSQL.*")), "a second copy", 200)
    killed.kill()
    killed.wait()
    assert len(copies(database)) == 2
    real = database.sql("select pg_postmaster_start_time(), timeline_id from pg_control_checkpoint()", region="b")
    report = sandboxed(database, f"{run_id}-next", "--take-over", "--with", "way=promote")
    assert copies(database) == []
    assert "an earlier run left its copy" in (database.evidence(f"{run_id}-next") / "journal.jsonl").read_text()
    assert report.applications[0].way == "promote"
    assert any("no name is moved" in told for told in report.applications[0].weakly_checked)
    assert database.sql(
        "select pg_postmaster_start_time(), timeline_id from pg_control_checkpoint()", region="b") == real  # fmt: skip
    assert route53.connect(sites.load("lab").dns).addresses("db.lab.example") == ("127.0.0.1",)


def copies(database: TheDatabase) -> list[str]:
    """The postmasters that work in a copy."""
    return database.on_host('pgrep -f "$1" || true', f"^[^ ]*postgres -D {database.data}.copy-").split()


def test_way_that_does_not_lead_back(database: TheDatabase, run_id: str) -> None:
    """It is refused before anything is broken, and the ways that do are named."""
    done = database.drill(run_id, "--with", "way=table", "--with", TABLE)
    assert done.returncode == 3, done.stdout
    assert "way=table does not lead back from damage=pages; nothing was broken" in done.stderr
    assert "ways that do: delta, full, promote; damages that way=table mends: wrong-delete" in done.stderr
    with detached(database):
        database.sql("insert into markers_rows values ('gap', 0)")
        done = database.drill(f"{run_id}-p", "--with", "way=promote")
    database.sql("delete from markers_rows where id = 'gap'")
    assert (done.returncode, "no standby can be promoted: db-b: no, it does not stream" in done.stderr) == (3, True)
