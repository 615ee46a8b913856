"""Rows of a real PostgreSQL, counted and digested up to a key."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks.errors import Refused, Unavailable
from runbooks.records import RowsState
from runbooks.site import Application, Dns, Rows, Secret, Site, Table
from tasks import rows
from tasks.clients import sql
from tests.tasks.cases import site_of
from tests.tasks.outside import name_server, until
from tests.tasks.programs import Postgres, postgres

pytestmark = pytest.mark.slow

APPLICATION = Application(
    name="orders",
    home="a",
    rows=(Rows(database="orders", tables=(Table(name="orders", key="id"), Table(name="shop.Lines", key="No"))),),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = tmp_path_factory.mktemp("postgres")
    for parent in (folder, *folder.parents):  # PostgreSQL's own user has to get there
        if parent.stat().st_uid == os.geteuid() and parent.is_relative_to(tempfile.gettempdir()):
            parent.chmod(parent.stat().st_mode | 0o055)
    (folder / "password").write_text("any")
    with postgres(folder, folder / "password") as running:
        yield running


@pytest.fixture
def site(server: Postgres, tmp_path: Path) -> Site:
    server.run("drop table if exists orders")
    server.run("drop schema if exists shop cascade")
    server.run("create table orders (id bigint primary key, who text, total numeric(10,2), at timestamptz, raw bytea)")
    server.run(
        "insert into orders select n, 'customer ' || n, n * 1.1, timestamptz '2026-01-01' + n * interval '1 s', 'x'"
        " from generate_series(1, 1000) n"
    )
    server.run("create schema shop")
    server.run('create table shop."Lines" ("No" int primary key, text text)')
    return site_of(tmp_path, APPLICATION).model_copy(update={"databases": (server.database,)})


def _after(site: Site, before: tuple[RowsState, ...]) -> tuple[int, bool]:
    """How many orders are found up to the key, and whether they are the same ones."""
    [state] = rows.record_up_to(site, APPLICATION, before)
    return state.tables[0].rows, state.tables == before[0].tables


def test_nothing_happened(site: Site) -> None:
    """The same rows give the same digest; an empty table, a schema and capital letters are no trouble."""
    before = rows.record(site, APPLICATION)
    assert [(t.table, t.up_to, t.rows) for t in before[0].tables] == [("orders", 1000, 1000), ("shop.Lines", 0, 0)]
    assert (before[0].store, _after(site, before)) == ("rows:orders", (1000, True))


def test_live_writes(site: Site, server: Postgres) -> None:
    """Rows with greater keys are not looked at."""
    before = rows.record(site, APPLICATION)
    server.run("insert into orders (id) values (1001), (2000)")
    assert _after(site, before) == (1000, True)


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        ("delete from orders where id = 7", 999),
        ("update orders set who = 'nobody' where id = 1000", 1000),
        ("update orders set total = total + 0.01 where id = 1", 1000),
        ("update orders set who = null where id = 500", 1000),
        ("update orders set who = (select who from orders where id = 2) where id = 3", 1000),
        ("update orders set raw = 'y' where id = 12", 1000),
        ("truncate orders", 0),
    ],
)
def test_damage(site: Site, server: Postgres, damage: str, left: int) -> None:
    """Any row that is missing or other turns the digest."""
    before = rows.record(site, APPLICATION)
    server.run(damage)
    assert _after(site, before) == (left, False)


def test_settings_of_the_server(site: Site, server: Postgres) -> None:
    """How dates and bytes are shown there does not turn the digest."""
    before = rows.record(site, APPLICATION)
    for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "bytea_output = 'escape'"):
        server.run(f"alter role dr set {setting}")
    after = _after(site, before)
    server.run("alter role dr reset all")
    assert after == (1000, True)


def test_transaction_with_a_smaller_key(site: Site, server: Postgres) -> None:
    """One that is still open when the greatest key is read is waited for, else it would be a row too many later."""
    with server.connection() as open_one:
        open_one.run("begin")
        open_one.run("insert into orders (id) values (1001)")
        server.run("insert into orders (id) values (1002)")
        threading.Timer(0.5, lambda: open_one.run("commit")).start()
        before = rows.record(site, APPLICATION)
        assert (before[0].tables[0].up_to, before[0].tables[0].rows) == (1002, 1002)
        assert _after(site, before) == (1002, True)


def test_transaction_that_never_ends(site: Site, server: Postgres) -> None:
    """It is not waited for longer than 5 s."""
    with server.connection() as open_one:
        open_one.run("begin")
        open_one.run("insert into orders (id) values (1001)")
        began = time.monotonic()
        rows.record(site, APPLICATION)
        assert time.monotonic() - began < 7


def test_a_million_rows(site: Site, server: Postgres) -> None:
    """It is a matter of seconds."""
    server.run(
        "insert into orders select n, 'customer ' || n, n % 1000, now(), 'abc' from generate_series(1001, 1000000) n"
    )
    began = time.monotonic()
    before = rows.record(site, APPLICATION)
    print(f"1,000,000 rows in {time.monotonic() - began:.2f} s")
    assert before[0].tables[0].rows == 1_000_000
    assert time.monotonic() - began < 20


def test_table_that_was_not_recorded(site: Site) -> None:
    """A site file that changed in mid-run is said, not guessed around."""
    with pytest.raises(Refused, match="rows:orders table orders was not recorded before"):
        rows.record_up_to(site, APPLICATION, ())


def test_table_that_does_not_exist(site: Site, server: Postgres) -> None:
    """PostgreSQL's own words and code are in the error."""
    server.run("drop table orders")
    with pytest.raises(Refused, match=r"relation .orders. does not exist \(42P01\)"):
        rows.record(site, APPLICATION)


def test_name_in_the_sites_dns(site: Site, server: Postgres) -> None:
    """The database is found by the site's own DNS server."""
    with name_server({"db.example": "127.0.0.1"}) as names:
        named = server.database.model_copy(update={"host": "db.example"})
        with sql.connect(named, Dns(server=names.address)) as connection:
            assert connection.rows("select :n::int + 1", n=1) == [[2]]


def test_nobody_listens(server: Postgres) -> None:
    """Asking again is safe."""
    nowhere = server.database.model_copy(update={"port": 1})
    with pytest.raises(Unavailable, match=r"database orders at 127.0.0.1:1: .*refused"), sql.connect(nowhere, Dns()):
        pass


def test_database_that_does_not_exist(server: Postgres) -> None:
    """It is a mistake in the site file."""
    other = server.database.model_copy(update={"database": "nothing"})
    with pytest.raises(Refused, match=r'database "nothing" does not exist \(3D000\)'), sql.connect(other, Dns()):
        pass


def test_missing_password(server: Postgres) -> None:
    """The reference is named."""
    other = server.database.model_copy(update={"password": Secret(where="env:DR_TEST_NOT_SET")})
    with pytest.raises(Refused, match="env:DR_TEST_NOT_SET"), sql.connect(other, Dns()):
        pass


def test_statement_that_takes_too_long(server: Postgres) -> None:
    """The server gives it up, too: nothing runs on there."""
    with (
        sql.connect(server.database, Dns(), answer_within=timedelta(seconds=1)) as connection,
        pytest.raises(Unavailable, match=r"57014|timed out"),
    ):
        connection.rows("select pg_sleep(20)")
    sleeping = "select count(*) from pg_stat_activity where query like '%pg_sleep(20)%' and pid <> pg_backend_pid()"
    until(lambda: server.run(sleeping) == [[0]])


def test_server_that_hangs(server: Postgres) -> None:
    """Connecting comes back within its time limit."""
    server.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(Unavailable), sql.connect(server.database, Dns(), connect_within=timedelta(seconds=1)):
            pass
        assert time.monotonic() - began < 3
    finally:
        server.signal(signal.SIGCONT)
