"""A person recovers a database by the printed page alone, in each way, and by what a stopped run says is left."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.database import terminal
from tests.database.terminal import Desk
from tests.database.the_database import DRILL, SCENARIO, TheDatabase
from tests.lab.test_drills import wait_for
from tests.lab.the_lab import DR, ROOT
from tests.runbooks.pages import Text

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]
WRONG = """begin; select pg_current_xact_id(); update payments set amount = 0 where id < 1000;
    delete from payments where id > 19000; insert into payments values (30000, 1, 1); commit"""
CLIENTS = """update payments set amount = 777 where id = 5; delete from payments where id = 7;
    insert into payments values (30001, 1, 5)"""
REST = "select md5(string_agg(p::text, ',' order by id)) from payments p where id not in (5, 7, 30001)"
ALL = "select md5(string_agg(p::text, ',' order by id)) from payments p"
OVERWRITE = 'dd if=/dev/urandom of="$1" bs=8192 seek=3 count=2 conv=notrunc status=none'
SILENT = ("for p in", "pg_checksums", "cp --preserve", "grep -c")
"""Those that end with another code than 0 when all is well."""
COUNT = "psql --command='select count(*), max(id) from payments'"
"""It says so when pages of that table are corrupt, and is green in the end."""
DOWN = ("psql ", "pg_dump", "pg_controldata", "/usr/lib/postgresql/15/bin/pg_ctl --pgdata=")
"""Those that do when the server is down, or its files are gone."""


@pytest.fixture
def desk(database: TheDatabase, tmp_path: Path) -> Iterator[Desk]:
    """Its transcript is among the evidence."""
    found = terminal.at(database, tmp_path)
    yield found
    found.close()
    kept = Path(database.env["EVIDENCE"]) / f"{tmp_path.name}.typed"
    kept.write_text(found.transcript)


def by_the_page(database: TheDatabase, desk: Desk, way: str, *options: str) -> str:
    """All commands of the page for that way are typed; what was seen."""
    given = [part for option in (f"way={way}", *options) for part in ("--with", option)]
    page = database.dr("runbook", SCENARIO, "--site", "lab", "--format", "html", *given)
    assert page.returncode == 0, page.stderr
    for command in (one for block in Text(page.stdout).blocks for one in terminal.commands(block)):
        desk.type(command)
    assert "command not found" not in desk.transcript
    return desk.transcript


def answers(database: TheDatabase) -> None:
    """A client outside gets the order that everybody knows."""
    found = httpx.get(f"{database.env['ORDERS_URL_A']}/orders/12345", timeout=5)
    assert (found.status_code, found.json()["total"]) == (200, "199.90")


def spoil(database: TheDatabase) -> None:
    file = database.sql("select pg_relation_filepath('payments')")
    database.stop()
    database.on_host(OVERWRITE, str(database.data / file))
    database.start()


def test_delta(database: TheDatabase, desk: Desk) -> None:
    """Corrupt pages: the page finds them, and mends them in place; the standby follows, and a new backup is there."""
    before, sets = database.sql(ALL), database.sets()
    spoil(database)
    said = by_the_page(database, desk, "delta")
    assert "a table cannot be read to its end" in said
    assert [c for c in desk.failed if not c.startswith((*SILENT, COUNT))] == []
    assert database.sql(ALL) == before
    assert database.is_in_good_order()
    assert len(database.sets()) > len(sets)
    answers(database)


def test_full(database: TheDatabase, desk: Desk) -> None:
    """Lost files: all of them come back, with the WAL that was never archived."""
    database.sql("create table typed (at timestamptz)")
    database.sql("insert into typed values (now())")
    before = database.sql(ALL)
    database.stop(mode="immediate")
    database.on_host('rm -rf "$1/base" "$1/global"', str(database.data))
    by_the_page(database, desk, "full")
    assert [c for c in desk.failed if not c.startswith((*SILENT, *DOWN))] == []
    assert (database.sql(ALL), database.sql("select count(*) from typed")) == (before, "1")
    database.sql("drop table typed")
    assert database.is_in_good_order()
    answers(database)


def test_point_in_time(database: TheDatabase, desk: Desk) -> None:
    """Wrong data: the transaction is found by the page, and recovery stops just before it."""
    before, xid = database.sql(ALL), database.sql(WRONG)
    said = by_the_page(database, desk, "point-in-time", f"target_xid={xid}")
    assert f"before transaction {xid}" in said
    assert re.search(rf"tx: +{xid}, .* COMMIT", said)
    assert [c for c in desk.failed if not c.startswith(SILENT)] == []
    assert database.sql(ALL) == before
    assert database.is_in_good_order()
    answers(database)


def test_table(database: TheDatabase, desk: Desk) -> None:
    """One table: what the transaction did is undone with the service up; what clients have written since stays."""
    before, since = database.sql(REST), database.sql("select pg_postmaster_start_time()")
    xid = database.sql(WRONG)
    database.sql(CLIENTS)
    said = by_the_page(database, desk, "table", "table=payments", f"target_xid={xid}")
    assert f"recovery stopping after commit of transaction {xid}" in said
    assert [c for c in desk.failed if not c.startswith(SILENT)] == []
    assert database.sql(REST) == before
    assert database.sql("select amount from payments where id = 5") == "777.00"
    assert database.sql("select id from payments where id in (7, 30000, 30001)") == "30001"
    assert database.sql("select pg_postmaster_start_time()") == since
    answers(database)


def test_stopped_run(database: TheDatabase, desk: Desk, run_id: str) -> None:
    """A run that was ended in the middle of its restore says what is left, as commands: typed, they bring it back."""
    before = database.sql(ALL)
    command = [*DR, *DRILL, "--run-id", run_id, "--with", "damage=wrong-delete"]
    stopped = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(database, run_id, stopped, "intent", "database_restore.restore", seconds=120)
    stopped.terminate()
    assert stopped.wait(60) == 5
    report = database.report(run_id)
    for step in report.remaining_steps:
        for line in terminal.commands(step):
            desk.type(line)
    assert [c for c in desk.failed if not c.startswith((*SILENT, *DOWN))] == []
    assert "before transaction " in desk.transcript
    assert database.sql(ALL) == before
    assert database.is_in_good_order()
    answers(database)


@pytest.mark.usefixtures("name_at_home")
def test_promote(database: TheDatabase, desk: Desk) -> None:
    """The standby takes over with all that there was; clients find it; the old primary follows it."""
    before = database.sql(ALL)
    spoil(database)
    by_the_page(database, desk, "promote")
    assert [c for c in desk.failed if not c.startswith((*SILENT, COUNT, "getent"))] == []
    assert [database.sql("select pg_is_in_recovery()", region=region) for region in "ab"] == ["t", "f"]
    assert database.sql(ALL, region="b") == before
    follows = "select count(*) from pg_stat_replication where state = 'streaming'"
    database.until(lambda: database.sql(follows, region="b") == "1", "the old primary behind the new one")
    answers(database)
