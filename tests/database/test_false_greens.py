"""Wrong recoveries of a database, made in the real one behind a real run: each turns the verdict red and is named.

One drill is done for all of them. What it does behind its restore is then done again, each time with a database that
was spoilt in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runbooks import journal
from runbooks.model import now
from runbooks.verdict import Verdict
from tasks.database_plan import Plan
from tests.database.recorded import Spoil, examined
from tests.database.the_database import TheDatabase

pytestmark = [pytest.mark.database, pytest.mark.timeout(300)]
TIMELINE = "select timeline_id from pg_control_checkpoint()"
RECOVER = "database_restore.recover"
RUNS: list[str] = []


@pytest.fixture
def run(database: TheDatabase) -> str:
    """A drill that has brought the database back from a wrong DELETE; a new one when something was restored since."""
    if not RUNS or str(recorded(database, RUNS[-1], RECOVER)["timeline"]) != database.sql(TIMELINE):
        RUNS.append(f"false-greens-{now():%H%M%S}")
        database.sql("select nextval('invoice_numbers') from generate_series(1, 50)")
        done = database.drill(RUNS[-1], "--with", "damage=wrong-delete")
        assert done.returncode == 0, done.stdout + done.stderr
    return RUNS[-1]


def recorded(database: TheDatabase, run_id: str, step: str) -> dict[str, Any]:
    """What a step of that run has found."""
    entries = journal.read(database.evidence(run_id) / "journal.jsonl")
    [found] = [e.data["evidence"] for e in entries if e.kind == "done" and e.step == step]
    assert isinstance(found, dict)
    return found


def is_red(database: TheDatabase, run: str, folder: Path, spoil: Spoil, names: str, **more: str) -> None:
    verdict, said = examined(database, run, folder, spoil, **more)
    assert verdict is Verdict.NOT_RECOVERED
    assert any(names in one for one in said), said


def sql(database: TheDatabase, statement: str) -> Callable[[], str]:
    return lambda: database.sql(statement)


def test_nothing_spoilt(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """The control: in good order the same steps pass, so that red means something."""
    verdict, said = examined(database, run, tmp_path, lambda: None)
    assert said == []
    assert verdict is Verdict.PASSED


def test_one_row_off(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """One of 36,000."""
    kept = database.sql("delete from payments where id = 77 returning order_id, amount").split("|")
    is_red(database, run, tmp_path, lambda: None, "payments")
    database.sql(f"insert into payments values (77, {kept[0]}, {kept[1]})")


def test_order_12345_changed(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """As many rows as before, and one of them is another."""
    try:
        is_red(database, run, tmp_path, sql(database, "update orders set customer = 'AMCE' where id = 12345"), "orders")
    finally:
        database.sql("update orders set customer = 'ACME' where id = 12345")


def test_sequence_behind(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """The next insert would meet a number that is taken."""
    reached = database.sql("select last_value from invoice_numbers")
    is_red(database, run, tmp_path, sql(database, "select setval('invoice_numbers', 49)"), "invoice_numbers: 49")
    database.sql(f"select setval('invoice_numbers', {reached})")


def test_index_invalid(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """It is there, and no query uses it."""
    which = "where indexrelid = 'markers_rows_seq'::regclass"
    try:
        is_red(
            database,
            run,
            tmp_path,
            sql(database, f"update pg_index set indisvalid = false {which}"),
            "markers_rows_seq",
        )
    finally:
        database.sql(f"update pg_index set indisvalid = true {which}")


def test_constraint_not_validated(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """It is there, and nobody knows whether the rows obey it."""
    spoil = """alter table payments drop constraint payments_order_id_fkey;
        alter table payments add constraint payments_order_id_fkey foreign key (order_id) references orders not valid"""
    is_red(database, run, tmp_path, sql(database, spoil), "payments_order_id_fkey")
    database.sql("alter table payments validate constraint payments_order_id_fkey")


@contextmanager
def settings(database: TheDatabase, setting: str) -> Iterator[Spoil]:
    """Changes it when it is called; it is as before afterwards."""
    name = setting.partition(" ")[0]
    try:
        yield lambda: change(database, f"set {setting}")
    finally:
        change(database, f"reset {name}")


def change(database: TheDatabase, what: str) -> None:
    database.sql(f"alter system {what}")
    database.sql("select pg_reload_conf(), pg_sleep(0.5)")  # the archiver reads it in its own time


def test_archiving_dead(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """Each segment is refused."""
    with settings(database, "archive_command = 'false'") as spoil:
        is_red(database, run, tmp_path, spoil, "archiving")


def test_archiving_to_nowhere(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """PostgreSQL says that each segment is archived, and none is in the repository."""
    with settings(database, "archive_command = 'true'") as spoil:
        is_red(database, run, tmp_path, spoil, "archiving")
    database.pgbackrest("--type=incr", "backup")  # behind the gap


def test_checksums_off(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """The next corrupt page would not be noticed."""

    def switch(how: str) -> None:
        database.stop()
        database.on_host('"$1" "$2" --pgdata="$3" >/dev/null', f"{database.programs}/pg_checksums", how,
                         str(database.data))  # fmt: skip
        database.start()

    is_red(database, run, tmp_path, lambda: switch("--disable"), "checksums: on → off")
    switch("--enable")


def test_application_still_fenced(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """All is back, and no client gets in."""
    hba = database.data / "pg_hba.conf"
    kept = hba.read_text()

    def spoil() -> None:
        database.on_host('printf "host all orders all reject\\n%s\\n" "$2" >"$1"', str(hba), kept)
        database.sql("select pg_reload_conf()")
        database.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'orders'")

    is_red(database, run, tmp_path, spoil, "outside: order")
    database.on_host('printf %s "$2" >"$1"', str(hba), kept)
    database.sql("select pg_reload_conf()")


def test_standby_detached(database: TheDatabase, run: str, tmp_path: Path) -> None:
    """It runs, and follows nobody."""
    settings = database.folder("b") / "data" / "postgresql.auto.conf"

    def spoil() -> None:
        database.on_host('sed -i "s/port=[0-9]*/port=1/" "$1"', str(settings))
        database.sql("select pg_reload_conf()", region="b")

    is_red(database, run, tmp_path, spoil, "0 streaming")


def restored(database: TheDatabase, *arguments: str) -> Spoil:
    """Somebody has restored it by hand in between, in another way."""

    def act() -> None:
        database.stop(mode="immediate")
        database.on_host('rm -rf "$1"; mkdir -m 700 "$1"', str(database.data))
        database.pgbackrest(*arguments, "restore")
        database.start()
        if "--target-action=pause" not in arguments:
            database.until_primary()

    return act


@pytest.fixture
def past(database: TheDatabase, request: pytest.FixtureRequest) -> str:
    """A run that has recovered, whatever was restored since: these tests restore for themselves."""
    return RUNS[-1] if RUNS else str(request.getfixturevalue("run"))


def plan(database: TheDatabase, run_id: str) -> Plan:
    return Plan.model_validate(recorded(database, run_id, "database_plan.choose"))


def arguments(plan: Plan, target: str) -> list[str]:
    return [f"--set={plan.source.label}", "--type=xid", f"--target={target}", "--target-action=promote",
            f"--target-timeline={plan.timeline}"]  # fmt: skip


@pytest.mark.parametrize("after", ["database_restore.restore", "database_restore.recover"])
def test_stopped_past_the_target(database: TheDatabase, past: str, tmp_path: Path, after: str) -> None:
    """The wrong transaction is there again; at once when it comes up, and when somebody did it later by hand."""
    run = plan(database, past)
    spoil = restored(database, *arguments(run, str(run.target.value)))
    is_red(database, past, tmp_path, spoil, f"after transaction {run.target.value}", after=after)


def test_stopped_before_the_target(database: TheDatabase, past: str, tmp_path: Path) -> None:
    """One transaction too early."""
    run = plan(database, past)
    before = str(int(str(run.target.value)) - 1)
    spoil = restored(database, *arguments(run, before), "--target-exclusive")
    is_red(database, past, tmp_path, spoil, f"before transaction {before}")


def test_yesterdays_set(database: TheDatabase, past: str, tmp_path: Path) -> None:
    """An old backup without the WAL since: all rows that are compared are there, and what was written since is not."""
    spoil = restored(database, f"--set={database.base}", "--type=immediate", "--target-action=promote")
    is_red(database, past, tmp_path, spoil, "timeline: ")


def test_recovery_that_pauses(database: TheDatabase, past: str, tmp_path: Path) -> None:
    """It would wait for ever, and answers all the while; told at once, with the place."""
    run = plan(database, past)
    waiting = [one.replace("promote", "pause") for one in arguments(run, str(run.target.value))]
    spoil = restored(database, *waiting, "--target-exclusive")
    is_red(database, past, tmp_path, spoil, "instead of ending", after="database_restore.restore")


def test_bad_setting(database: TheDatabase, past: str, tmp_path: Path) -> None:
    """The files are back, and PostgreSQL does not start with what its configuration says."""
    conf = str(database.folder() / "lab.conf")

    def spoil() -> None:
        database.stop()
        database.on_host('echo "shared_buffers = much" >>"$1"', conf)

    is_red(database, past, tmp_path, spoil, "ended in recovery", after="database_restore.restore")
    database.on_host('sed -i "/shared_buffers = much/d" "$1"', conf)
