"""Breaks a database for a drill: really, and only the pinned one. Beside tasks.disasters the only such module."""

from __future__ import annotations

import time
from datetime import timedelta

from runbooks.database_ways import Damage
from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from runbooks.journal import Entry
from runbooks.model import Model
from runbooks.records import RunKind
from tasks import database_culprits, database_plan, database_restore, database_server, database_state
from tasks.cases import Case
from tasks.database_server import Postgres
from tasks.steps import step

WITHIN = timedelta(minutes=1)
SKEW = timedelta(minutes=1)
"""The host's clock may be off."""
SEEN_SECONDS = 1.5
"""The observer asks once a second: clients' outage would begin later in the report than for them."""
PAGE = 8192
JUNK = """
size=$(stat --format=%s "$1/$2")
[ "$size" -ge 8192 ] || { echo "$2 has no page" >&2; exit 1; }
for n in 0 $((size / 16384)) $((size / 8192 - 1)); do
    yes broken | head -c "$3" | dd of="$1/$2" bs=1 seek=$((n * 8192 + 2048)) conv=notrunc status=none
done
"""
DELETE = """begin; select pg_current_xact_id();
    with gone as (delete from {table} returning 1) select count(*) from gone; commit"""
LOSE = '[ -e "$2" ] || mv -T "$1" "$2"'
LOSE_WAL = 'mkdir -p "$2" && find "$1/pg_wal" -maxdepth 1 -type f -exec mv -t "$2" {} +'


class Damaged(Model):
    """`xid`: the wrong transaction; `kept`: where a lost directory lies, as the drill's net."""

    what: str
    xid: int | None = None
    kept: str | None = None


@step
def damage(case: Case) -> Damaged:
    """The planned damage is done, to exactly the pinned system, and seen.

    Changes: as the drill was asked for (clock `fault` just before).

    Raises:
        Refused: another system runs there; nothing was broken.
        NotRecovered: the damage had no effect.
    """
    return _damage(case)


@step
def damage_copy(case: Case) -> Damaged:
    """The planned damage is done to the copy that this run has made. Raises: as `damage`."""
    return _damage(case)


def _damage(case: Case) -> Damaged:
    given = database_plan.options(case)
    with database_server.primary(case) as postgres:
        if case.clock_of("fault") is None:
            database_state.must_be_pinned(postgres)
        if given.damage is Damage.WRONG_DELETE:
            return _delete_rows(case, postgres, given.table)
        if given.damage in (Damage.PAGES, Damage.TORN_PAGE):
            return _corrupt(case, postgres, given.damage)
        return _lose(case, postgres, given.damage)


def _fault(case: Case) -> None:
    """Of the original: what happens to a copy is none."""
    if case.kind is RunKind.DRILL:
        case.clock("fault")


def _table(case: Case, named: str | None) -> str:
    """The one that a person named, else the last of the site's: others may refer to the first."""
    known = [t.name for rows in case.application.rows for t in rows.tables]
    if named is not None and named not in known:
        raise Refused(f"table {named} is not under applications.rows", f"only compared tables are broken: {known}")
    return named or known[-1]


def _delete_rows(case: Case, postgres: Postgres, named: str | None) -> Damaged:
    """A killed attempt may have done it, or its command may still do it: then no row is left for this one."""
    table, name = _table(case, named), postgres.database.database
    if not _begun(case):
        if postgres.value(f"select count(*) from {table}", database=name) == "0":
            raise Refused(f"{table} is empty: to delete its rows breaks nothing", "name another one: --with table=…")
        before = postgres.value("select pg_snapshot_xmax(pg_current_snapshot())")
        case.write(f"delete the rows of {table}", table=table, not_before=int(before))
    _fault(case)
    [[xid], [rows]] = postgres.sql(DELETE.format(table=table), database=name)
    wrong = int(xid) if rows != "0" else _who_deleted(postgres, table, _begun(case)[0])
    case.event(f"transaction {wrong} has deleted the rows of {table}")
    return Damaged(what=f"rows of {table} deleted", xid=wrong)


def _begun(case: Case) -> list[Entry]:
    return [e for e in case.journal.of("write") if e.step == case.step]


def _who_deleted(postgres: Postgres, table: str, begun: Entry) -> int:
    """Of all transactions since the deletion was *begun*, the one that has changed most of the table."""
    not_before = int(str(begun.data["target"]["not_before"]))  # type: ignore[index,call-overload]
    found, _ = database_culprits.since_then(postgres, table, begun.at - SKEW)
    for one in found:
        if one.xid >= not_before:
            return one.xid
    raise NotRecovered(f"the rows of {table} are gone, and the WAL does not tell who deleted them", "see pg_waldump")


def _corrupt(case: Case, postgres: Postgres, kind: Damage) -> Damaged:
    table, name = _table(case, database_plan.options(case).table), postgres.database.database
    if postgres.answers():
        if _begun(case) and (why := _why_unreadable(postgres, table)):
            return _overwritten(case, table, why)
        file = postgres.value(f"select pg_relation_filepath('{table}')", database=name)
        postgres.value("checkpoint; select 1")
        case.write(f"overwrite pages of {table}", host=postgres.server.host, file=file)
        _fault(case)
        if kind is Damage.TORN_PAGE:
            _kill(postgres)
    database_restore.ensure_stopped(case, postgres)
    file = next(str(e.data["target"]["file"]) for e in case.journal.of("write") if "file" in e.data["target"])  # type: ignore[index,call-overload,operator]
    postgres.sh(JUNK, postgres.data, file, str(PAGE // 2 if kind is Damage.TORN_PAGE else PAGE - 4096))
    if case.kind is RunKind.DRILL:
        time.sleep(SEEN_SECONDS)
    postgres.service(postgres.server.start, within=WITHIN)
    if why := _why_unreadable(postgres, table):
        return _overwritten(case, table, why)
    raise NotRecovered(f"pages of {table} were overwritten, and nobody notices", "are data checksums on?")


def _why_unreadable(postgres: Postgres, table: str) -> str | None:
    try:
        postgres.sql(f"copy {table} to program 'cat >/dev/null'", database=postgres.database.database)
    except (Refused, Unavailable) as error:
        return error.problem
    return None


def _overwritten(case: Case, table: str, why: str) -> Damaged:
    case.event(f"it is broken: {why[:200]}")
    return Damaged(what=f"pages of {table} overwritten")


def _kill(postgres: Postgres) -> None:
    """Those that work there: what postmaster.pid names may be dead, or a stranger. The caller sees to their end."""
    if working := postgres.processes():
        postgres.run(["kill", "-KILL", *working])


def _lose(case: Case, postgres: Postgres, kind: Damage) -> Damaged:
    where = f"{postgres.data}.{case.name('lost')}"
    case.write(f"lose {'the data directory' if kind is Damage.DATA_DIRECTORY else 'pg_wal'}", directory=where)
    _fault(case)
    _kill(postgres)
    database_restore.ensure_stopped(case, postgres)
    postgres.sh(LOSE if kind is Damage.DATA_DIRECTORY else LOSE_WAL, postgres.data, where)
    try:
        postgres.value("select 1")
    except RecoveryError as error:
        case.event(f"it is broken: {error.problem[:200]}")
        return Damaged(what=f"{kind} lost", kept=where)
    raise NotRecovered("the directory is lost, and PostgreSQL still answers", "who started it?")
