"""The daily restore test of a database: the newest backup is restored, started and asked; WAL and archiving are proven.

Every look is one check with what was expected and observed; what could not be looked at is not green.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from runbooks import wal
from runbooks.errors import NotRecovered, Refused
from runbooks.hosts import Question, RestoreTest, Server
from runbooks.model import Model, now, spell
from runbooks.records import CheckStatus
from runbooks.site import Database, Site
from tasks import (
    archives,
    database_backups,
    database_server,
    database_timelines,
    history,
    repository_files,
    scratch_restores,
)
from tasks.archives import Archiver
from tasks.daily import Result
from tasks.database_backups import BackupSet, Repository
from tasks.database_server import Postgres
from tasks.looks import Looks
from tasks.scratch_restores import Scratch

BEHIND = """
select format('select %L, (select last_value from %s) >= coalesce((select max(%I) from %s), 0)',
    s.oid::regclass, s.oid::regclass, a.attname, d.refobjid::regclass)
from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
\\gexec
"""
INVALID = """
select 'index ' || indexrelid::regclass from pg_index where not indisvalid or not indisready
union all select 'constraint ' || conname || ' of ' || conrelid::regclass from pg_constraint where not convalidated
order by 1
"""
TIMELINE = "select substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"
SEGMENT_BYTES = "select setting from pg_settings where name = 'wal_segment_size'"
READ_ALL = "repository read by pgBackRest"
WEEK = timedelta(days=6, hours=12)
IN_A_WEEK = 20
"""More tests than a week has, with those by hand."""
READING = timedelta(hours=6)
"""All pages of a large database, or all files of its repository."""
DAMAGED = (
    "the repository or the database is damaged: keep the repository as it is, and take a full backup of a good database"
)


class Production(Model):
    """What the living database says before the test; nothing else is asked of it."""

    archiver: Archiver
    newest: float | None
    """When its newest marker was written, in seconds since 1970."""
    invalid: tuple[str, ...]


def verify(site: Site, database: Database) -> Result:
    """The newest backup of *database* brings it back, and nothing is missing between it and now.

    Changes: the scratch folder on the host, empty afterwards. Production's repository, port and archive are only read.
    """
    test = database.restore_test
    if test is None or database.server is None:
        raise Refused(f"database {database.name} has no [databases.restore_test]", "name it in the site file")
    looks, tested = Looks(), _Tested()
    with (
        looks.guarded("production answers", "it does"),
        database_server.connected(site, database, database.server) as production,
        looks.guarded("restore test", "can be made"),
        on_test_host(site, database, test, production) as tester,
    ):
        _look(looks, tested, site, production, tester, test)
    return Result(
        told=f"rows:{database.name}: backup {tested.backup} came back, {len(looks.checks)} checks passed",
        backup=tested.backup, data_age_seconds=tested.data_age_seconds, checks=tuple(looks.checks),
        problem=looks.problem, hint=looks.hint,
    )  # fmt: skip


class _Tested:
    backup: str | None = None
    data_age_seconds: float | None = None


@contextmanager
def on_test_host(site: Site, database: Database, test: RestoreTest, production: Postgres) -> Iterator[Postgres]:
    """By whose hands the copy is made: the server's own, or those of the standby on the test's host."""
    assert database.server is not None
    if test.host in (None, database.server.host):
        yield production
        return
    server = next((s for s in database.standbys if s.host == test.host), None) or _elsewhere(database.server, test)
    with database_server.connected(site, database, server) as found:
        yield found


def _elsewhere(server: Server, test: RestoreTest) -> Server:
    return server.model_copy(update={"host": test.host})


def _look(looks: Looks, tested: _Tested, site: Site, production: Postgres, tester: Postgres, test: RestoreTest) -> None:
    repository = database_backups.read(production)
    before = _ask_production(looks, production, test)
    _look_at_backups(looks, production, repository, before)
    with looks.guarded("restore test", "can be made"):
        _look_at_restore(looks, tested, _newest(repository), tester, test, before)
    if _is_due(site, production, test):
        looks.equal(READ_ALL, "ok", lambda: repository_files.verified(tester), DAMAGED)
    _look_at_production(looks, production, repository, before)


def _is_due(site: Site, production: Postgres, test: RestoreTest) -> bool:
    """Every file is read today: always, or a good reading is a week old."""
    if test.read_all == "daily":
        return True
    since = now() - WEEK
    kept = history.read(site, (f"rows:{production.database.name}",), last=IN_A_WEEK, what="verification")
    good = [check for entry in kept if entry.at > since for check in entry.checks
            if check.name == READ_ALL and check.status is CheckStatus.PASSED]  # fmt: skip
    return not good


def _look_at_restore(
    looks: Looks, tested: _Tested, backup: BackupSet, tester: Postgres, test: RestoreTest, before: Production | None
) -> None:
    tested.backup = backup.label
    where = {"folder": test.folder, "port": test.port, "within": test.within}
    newest = database_backups.read(tester).newest_wal  # of the repository that is read: another host's may be a replica
    with scratch_restores.restored(tester, backup, **where) as scratch:  # type: ignore[arg-type]
        looks.passed("restored and started", "recovered", "recovered")
        _look_at_copy(looks, scratch, test, before)
        _look_at_its_end(looks, scratch, newest)
        tested.data_age_seconds = _age(looks, scratch, tester.database.database, test, before)
        looks.equal("pg_amcheck", "no corruption", lambda: _amcheck(scratch), DAMAGED)
        looks.equal("page checksums", "all right", lambda: _checksums(scratch), DAMAGED)


def _ask_production(looks: Looks, production: Postgres, test: RestoreTest) -> Production | None:
    """What the copy is compared with. Raises: nothing: a server that does not answer is a red check."""
    with looks.guarded("production can be asked", "it can"):
        name = production.database.database
        newest = production.value(_epoch(test.newest), database=name) if test.newest else ""
        invalid = tuple(row[0] for row in production.sql(INVALID, database=name))
        return Production(archiver=archives.ask(production), newest=float(newest) if newest else None, invalid=invalid)
    return None


def _look_at_backups(looks: Looks, production: Postgres, found: Repository, before: Production | None) -> None:
    bad = [one.label for one in found.sets if one.has_errors]
    looks.equal(
        "backups without corrupt pages", "all", lambda: f"corrupt: {', '.join(bad)}" if bad else "all",
        "the database had corrupt pages then: run pg_amcheck there, and dr run database-corruption",
    )  # fmt: skip
    if before is None:
        return
    looks.equal(
        "WAL up to now", archives.COMPLETE, lambda: archives.missing(production, found, before.archiver),
        "older backups lead up to the gap only; if none lies behind it, take a full one at once: "
        "dr backups make --kind full",
    )  # fmt: skip
    looks.equal(
        "archiving", archives.ON_TIME, lambda: archives.lag(before.archiver, production.backups.archive_within),
        "see archive_command, PostgreSQL's log and pgbackrest check; until it works again all newer data is at risk",
    )  # fmt: skip


def _newest(repository: Repository) -> BackupSet:
    """The one that a recovery would take."""
    return database_backups.choose(repository, before=None, named=None)


def _look_at_copy(looks: Looks, scratch: Scratch, test: RestoreTest, before: Production | None) -> None:
    name = scratch.postgres.database.database
    for question in test.questions:
        _look_at_answer(looks, scratch, question)
    looks.equal(
        "sequences", "none is behind", lambda: _behind(scratch.ask(BEHIND, database=name)),
        "new rows would collide: was something written past its sequence? setval() in production",
    )  # fmt: skip
    known = before.invalid if before else ()
    looks.equal(
        "indexes and constraints", "valid, as in production",
        lambda: ", ".join(row[0] for row in scratch.ask(INVALID, database=name) if row[0] not in known)
        or "valid, as in production",
        "reindex, or validate the constraint, in production; then take a full backup",
    )  # fmt: skip
    looks.equal(
        "archiving of the copy", "off", lambda: scratch.ask("show archive_mode", database="postgres")[0][0],
        "the copy must not write into production's repository",
    )  # fmt: skip
    if before is not None:
        looks.equal(
            "timeline of the copy", _after(before.archiver.timeline),
            lambda: scratch.ask(TIMELINE, database="postgres")[0][0],
            "the archive leads to another timeline than production's: was a copy started with archiving on?",
        )  # fmt: skip


def _look_at_its_end(looks: Looks, scratch: Scratch, newest: str | None) -> None:
    """What pgBackRest cannot unpack is for PostgreSQL not there: it takes that for the end, and says nothing."""
    looks.equal(
        "WAL read up to", newest or "some", lambda: _read_up_to(scratch, newest or ""),
        "that segment or the one behind it is damaged in the archive, and nothing behind it can be recovered: "
        "take a full backup at once, dr backups make --kind full",
    )  # fmt: skip


def _read_up_to(scratch: Scratch, newest: str) -> str:
    """The newest segment that the copy has read: *newest*, or one on the way to it, or none if there is none."""
    if not newest:
        return "none"
    [[size]] = scratch.ask(SEGMENT_BYTES, database="postgres")
    [[timeline]] = scratch.ask(TIMELINE, database="postgres")
    lines = scratch.ask(f"select pg_read_file('pg_wal/{timeline}.history')", database="postgres")
    fork = database_timelines.read(int(timeline, 16), "\n".join(line[0] for line in lines)).forks[-1]
    is_behind = fork.position < wal.begin(newest, size=int(size))
    return wal.segment(fork.timeline, fork.position, size=int(size)) if is_behind else newest


def _after(timeline: str) -> str:
    return f"{int(timeline, 16) + 1:08X}"


def _look_at_answer(looks: Looks, scratch: Scratch, question: Question) -> None:
    wanted = question.answer or "any value"

    def ask() -> str:
        rows = scratch.ask(question.sql, database=scratch.postgres.database.database)
        value = rows[0][0] if rows and rows[0] else ""
        if question.answer is None:
            return wanted if value else "no value"
        return {"t": "true", "f": "false"}.get(value, value) if wanted in ("true", "false") else value or "no value"

    looks.equal(question.name, wanted, ask, f"the copy says so, asked: {question.sql[:200]}")


def _behind(rows: list[list[str]]) -> str:
    behind = [sequence for sequence, is_ahead in rows if is_ahead != "t"]
    return f"behind: {', '.join(behind)}" if behind else "none is behind"


def _epoch(sql: str) -> str:
    return f"select extract(epoch from ({sql.rstrip().rstrip(';')}))"


def _age(looks: Looks, scratch: Scratch, database: str, test: RestoreTest, before: Production | None) -> float | None:
    """Of the newest row that came back: what would be lost if all but the repository were gone."""
    if test.newest is None:
        return None
    limit, asked_at, found = scratch.postgres.backups.archive_within, now(), []

    def ask() -> str:
        found.append(float(scratch.ask(_epoch(str(test.newest)), database=database)[0][0] or "nan"))
        if before is None or before.newest is None:
            raise NotRecovered("production did not tell its newest marker", "does it run, and has it markers?")
        behind = max(before.newest - found[0], 0.0)
        return expected if behind <= limit.total_seconds() else f"{behind:.0f} s behind production"

    expected = f"at most {spell(limit)} behind production"
    looks.equal("newest marker", expected, ask, "that much would be lost: see archiving, and the WAL up to now")
    age = asked_at.timestamp() - found[0] if found else float("nan")
    return max(round(age, 3), 0.0) if age == age else None


def _amcheck(scratch: Scratch) -> str:
    where = [f"--host={scratch.folder}/run", f"--port={scratch.port}", f"--username={scratch.postgres.server.user}"]
    done = scratch.run("pg_amcheck", *where, "--all", "--install-missing", "--no-strict-names", within=READING)
    return "no corruption" if done.exit_code == 0 else done.said


def _checksums(scratch: Scratch) -> str:
    """Every page of the copy, read when it is stopped."""
    stopped = scratch.run("pg_ctl", f"--pgdata={scratch.data}", "--mode=fast", "--wait", "stop")
    if stopped.exit_code != 0:
        return f"the copy does not stop: {stopped.said}"
    done = scratch.run("pg_checksums", "--check", f"--pgdata={scratch.data}", within=READING)
    return "all right" if done.exit_code == 0 else done.said


def _look_at_production(looks: Looks, production: Postgres, found: Repository, before: Production | None) -> None:
    """The test has left it alone: the same server on the same timeline, no set gone but by expiry, no WAL of a copy."""
    if before is None:
        return
    expected = f"server started {before.archiver.started_at}, timeline {before.archiver.timeline}, archive of it alone"

    def ask() -> str:
        after = archives.ask(production)
        newest = database_backups.read(production).newest_wal or ""
        archive = "archive of it alone" if newest[:8] <= after.timeline else f"archive has WAL of {newest[:8]}"
        return f"server started {after.started_at}, timeline {after.timeline}, {archive}"

    looks.equal("production was left alone", expected, ask, "look into its log: who restarted it, or archived there?")
