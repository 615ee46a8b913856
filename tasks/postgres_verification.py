"""The daily restore test of a database: the newest backup is restored, started and asked; WAL and archiving are proven.

Every look is one check with what was expected and observed; what could not be looked at is not green.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from runbooks.errors import NotRecovered, RecoveryError, Refused
from runbooks.hosts import RestoreTest
from runbooks.model import Instant, Model, now, spell
from runbooks.records import Check, CheckStatus
from runbooks.site import Database, Site
from tasks import history, hosts, scratch_restores
from tasks.pgbackrest import Stanza
from tasks.scratch_restores import Scratch

LOG = logging.getLogger("dr")
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
ARCHIVER = """
select current_setting('archive_mode'), coalesce(extract(epoch from clock_timestamp() - min(r.modification)), 0),
    count(r.name), coalesce(a.last_failed_time > a.last_archived_time, a.last_failed_time is not null)
from pg_stat_archiver a left join pg_ls_archive_statusdir() r on r.name like '%.ready'
group by a.last_failed_time, a.last_archived_time
"""


class Tested(Model):
    """One restore test, as its history has it."""

    store: str
    at: Instant
    backup: str | None = None
    data_age_seconds: float | None = None
    seconds: float
    checks: tuple[Check, ...]
    problem: str | None = None

    @property
    def ok(self) -> bool:
        return self.problem is None


def verify(site: Site, database: Database) -> Tested:
    """The newest backup of *database* brings it back, and nothing is missing between it and now. Kept in the history.

    Changes: the scratch folder on the host, gone afterwards. Production's repository, port and archive are only read.

    Raises:
        NotRecovered: a check was not passed. All of them are made before.
    """
    began, at, test = time.monotonic(), now(), database.restore_test
    if test is None:
        raise Refused(f"database {database.name} has no [databases.restore_test]", "name it in the site file")
    look = _Looks()
    with look.guarded("restore"), hosts.connect(site, test.host or _host(database)) as shell:
        _look(look, Stanza(database, shell), test, at)
    bad = [check for check in look.checks if check.status is not CheckStatus.PASSED]
    first = (
        f"{len(bad)} of {len(look.checks)} checks not passed; first: {bad[0].name}: {bad[0].observed}" if bad else None
    )
    done = Tested(
        store=f"rows:{database.name}", at=at, backup=look.backup, data_age_seconds=look.data_age_seconds,
        seconds=round(time.monotonic() - began, 3), checks=tuple(look.checks), problem=first,
    )  # fmt: skip
    history.append(site, done)
    if first is not None:
        raise NotRecovered(
            f"restore test of database {database.name}: {first}", f"each check is in {history.file(site)}"
        )
    return done


class _Looks:
    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.backup: str | None = None
        self.data_age_seconds: float | None = None

    def equal(self, name: str, expected: str, ask: Callable[[], str]) -> None:
        """One check; a look that cannot be made is a red one, and the next is made."""
        try:
            observed = ask()
            status = CheckStatus.PASSED if observed == expected else CheckStatus.FAILED
        except RecoveryError as error:
            observed, status = error.problem, CheckStatus.NOT_RUN
        self.add(name, expected, observed, status)

    def add(self, name: str, expected: str, observed: str, status: CheckStatus) -> None:
        LOG.info("%s: %s: %s", status.value, name, observed)
        self.checks.append(Check(name=name, expected=expected, observed=observed, status=status))

    def guarded(self, name: str) -> _Guard:
        return _Guard(self, name)


class _Guard:
    """What keeps all further looks from being made is a red check by itself."""

    def __init__(self, looks: _Looks, name: str) -> None:
        self._looks, self._name = looks, name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, RecoveryError):
            return False
        self._looks.add(self._name, "can be done", error.problem, CheckStatus.FAILED)
        return True


def _host(database: Database) -> str:
    if database.server is None:
        raise Refused(f"database {database.name} has no [databases.server]", "name it in the site file")
    return database.server.host


def _look(look: _Looks, stanza: Stanza, test: RestoreTest, at: datetime) -> None:
    repository = stanza.info()
    look.equal("system identifier", str(stanza.database.system_identifier), lambda: str(repository.system_identifier))
    damaged = [one.label for one in repository.backups if one.damaged]
    look.equal("backups without corrupt pages", "all", lambda: f"damaged: {', '.join(damaged)}" if damaged else "all")
    look.equal("WAL without a gap", "nothing is missing", lambda: _missing(stanza.missing_wal(repository)))
    look.equal("archiving", "on time", lambda: _archiving(stanza))
    backup = stanza.newest(repository)
    look.backup = backup.label
    with scratch_restores.restored(stanza, backup, folder=test.folder, port=test.port, within=test.within) as scratch:
        look.add("restored and started", "recovered", f"{backup.label} on port {test.port}", CheckStatus.PASSED)
        _ask(look, scratch, stanza.database, test)
        if test.newest is not None:
            look.data_age_seconds = _age(look, scratch, stanza.database.database, test.newest, at)
        look.equal("pg_amcheck", "no corruption", lambda: _amcheck(scratch))
        look.equal("page checksums", "all right", lambda: _checksums(scratch))


def _ask(look: _Looks, scratch: Scratch, database: Database, test: RestoreTest) -> None:
    name = database.database
    for question in test.questions:
        answer = question.answer or "any value"
        look.equal(question.name, answer, lambda q=question: _answer(scratch, name, q.sql, q.answer))  # type: ignore[misc]
    look.equal("sequences", "none is behind", lambda: _behind(scratch.ask(BEHIND, database=name)))
    look.equal(
        "indexes and constraints", "all valid", lambda: _names(scratch.ask(INVALID, database=name)) or "all valid"
    )
    look.equal("archiving of the copy", "off", lambda: scratch.ask("show archive_mode", database=name)[0][0])


def _answer(scratch: Scratch, database: str, sql: str, wanted: str | None) -> str:
    rows = scratch.ask(sql, database=database)
    value = rows[0][0] if rows else ""
    value = {"t": "true", "f": "false"}.get(value, value) if wanted in ("true", "false") else value
    return "any value" if wanted is None and value else value or "no value"


def _behind(rows: list[list[str]]) -> str:
    behind = [sequence for sequence, is_ahead in rows if is_ahead != "t"]
    return f"behind: {', '.join(behind)}" if behind else "none is behind"


def _names(rows: list[list[str]]) -> str:
    return ", ".join(row[0] for row in rows)


def _age(look: _Looks, scratch: Scratch, database: str, sql: str, at: datetime) -> float | None:
    """Of the newest row that came back: what would be lost if all but the repository were gone."""
    try:
        rows = scratch.ask(f"select extract(epoch from ({sql.rstrip(';')}))", database=database)
        age = at.timestamp() - float(rows[0][0])
    except (NotRecovered, ValueError, IndexError) as error:
        look.add("newest marker", "its age", f"unknown: {error}", CheckStatus.NOT_RUN)
        return None
    look.add("newest marker", "its age", f"{age:.0f} s old", CheckStatus.PASSED)
    return max(round(age, 3), 0.0)


def _missing(segments: list[str]) -> str:
    more = f" and {len(segments) - 3} more" if len(segments) > 3 else ""
    return f"missing: {', '.join(segments[:3])}{more}" if segments else "nothing is missing"


def _archiving(stanza: Stanza) -> str:
    """Asked of production, which is the only thing that is asked of it."""
    server, limit = stanza.server, stanza.backups.archive_within
    argv = [f"{server.programs}/psql", f"--host={server.socket}", f"--port={server.port}", "--dbname=postgres", "-XqAt"]
    done = stanza.shell.run([*argv, "-F\t", "-f", "-"], user=server.user, input=ARCHIVER.encode())
    mode, oldest, waiting, is_failing = done.must_succeed("does PostgreSQL run there?").text.strip().split("\t")
    if mode == "off":
        return "archive_mode is off"
    if is_failing == "t":
        return f"the last try failed; {waiting} segments wait"
    if timedelta(seconds=float(oldest)) > limit:
        return f"the oldest of {waiting} waiting segments is {float(oldest):.0f} s old, allowed are {spell(limit)}"
    return "on time"


def _amcheck(scratch: Scratch) -> str:
    where = [
        f"--host={scratch.folder}/run",
        f"--port={scratch.port}",
        "--all",
        "--install-missing",
        "--no-strict-names",
    ]
    done = scratch.run("pg_amcheck", *where, within=timedelta(hours=3))
    return "no corruption" if done.exit_code == 0 else done.said


def _checksums(scratch: Scratch) -> str:
    """Every page of the copy, read when it is stopped."""
    stopped = scratch.run("pg_ctl", f"--pgdata={scratch.data}", "--mode=fast", "--wait", "stop")
    if stopped.exit_code != 0:
        return f"the copy does not stop: {stopped.said}"
    done = scratch.run("pg_checksums", "--check", f"--pgdata={scratch.data}", within=timedelta(hours=3))
    return "all right" if done.exit_code == 0 else done.said
