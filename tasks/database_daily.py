"""What is done with each database by the site's schedules: backed up, thinned out, and tested by restoring."""

from __future__ import annotations

import logging
from datetime import timedelta

from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.hosts import BackupKind
from runbooks.model import Instant
from runbooks.site import Site
from tasks import daily, database_backups, database_roles, database_server, database_verification, history, pgbackrest
from tasks.daily import Result
from tasks.database_backups import BackupSet
from tasks.database_server import Postgres
from tasks.waits import NotYet, wait_until

LOG = logging.getLogger("dr")
CHECKED_WITHIN = timedelta(minutes=5)


def back_up(site: Site, database: str, kind: BackupKind, *, run: str, due: Instant) -> str:
    """A backup of that kind or a larger one, begun since *due*, is there; old ones are gone, as the site says.

    Raises:
        NotRecovered: it holds corrupt pages, or pgBackRest failed.
        Refused, Unavailable: none was made.
    """
    store = f"rows:{database}"
    return daily.done(site, "backup", store, lambda: _back_up(site, database, kind, run, due), run=run, kind=kind.value)


def verify(site: Site, database: str, *, run: str) -> str:
    """The newest backup came back when restored beside, and no WAL is missing up to now.

    Raises:
        NotRecovered: a check was not passed. All that can be made were made before.
        Refused, Unavailable: it could not be tested, which is no success either.
    """

    def act() -> Result:
        return database_verification.verify(site, database_roles.as_led(site, database))

    return daily.done(site, "verification", f"rows:{database}", act, run=run)


def _back_up(site: Site, name: str, kind: BackupKind, run: str, due: Instant) -> Result:
    database = database_roles.as_led(site, name)
    assert database.server is not None
    with database_server.connected(site, database, database.server) as postgres:
        _ensure_stanza(site, postgres)
        if kind is BackupKind.FULL:
            pgbackrest.run(postgres, "check", within=CHECKED_WITHIN)
        taken = wait_until(
            lambda: _taken(postgres, kind, run=run, due=due) or _take(postgres, kind, run=run),
            within=postgres.backups.within, what=f"{kind} backup of {name}", otherwise=Unavailable,
            hint="end what holds the lock if it hangs; pgBackRest gives it up with the process", pause_seconds=1,
        )  # fmt: skip
    return _result(name, taken)


def _result(name: str, taken: BackupSet) -> Result:
    told = f"rows:{name}: {taken.kind} backup {taken.label}, {taken.size_bytes} bytes"
    if not taken.has_errors:
        return Result(told=told, backup=taken.label)
    return Result(
        told=told, backup=taken.label,
        problem=f"backup {taken.label} holds corrupt pages, or builds on one that does, though pgBackRest ended with 0",
        hint="the database is corrupt: run pg_amcheck, then dr run database-corruption",
    )  # fmt: skip


def _ensure_stanza(site: Site, postgres: Postgres) -> None:
    """The stanza is in the repository, and archiving to it works. One that vanished is not made again unnoticed.

    Raises:
        Refused: it had backups once, and is gone; or it is of another system.
    """
    status = database_backups.ask(postgres)["status"]["code"]
    if status == pgbackrest.NO_STANZA:
        made = [one for one in history.read(site, (f"rows:{postgres.database.name}",)) if one.backup]
        if made:
            raise Refused(
                f"stanza {postgres.stanza} is gone from its repository; it held backup {made[-1].backup}",
                "was the bucket emptied? a new stanza would hide that; if you mean it: pgbackrest stanza-create",
            )
        LOG.info("%s: pgbackrest stanza-create", postgres.stanza)
        pgbackrest.run(postgres, "stanza-create")
        pgbackrest.run(postgres, "check", within=CHECKED_WITHIN)


def _taken(postgres: Postgres, kind: BackupKind, *, run: str, due: Instant) -> BackupSet | None:
    """One that this run has made before, or that another one made since; so late runs do not pile up."""
    sets = _sets(postgres)
    own = [one for one in sets if one.run == run]
    enough = [one for one in sets if one.kind in kind.enough and one.started_at >= due and not one.has_errors]
    return next(reversed(own or enough), None)


def _sets(postgres: Postgres) -> tuple[BackupSet, ...]:
    code = database_backups.ask(postgres)["status"]["code"]
    return () if code == pgbackrest.NO_BACKUP else database_backups.read(postgres).sets


def _take(postgres: Postgres, kind: BackupKind, *, run: str) -> BackupSet | NotYet:
    """A backup that is in progress is waited for, a stanza that was stopped is not."""
    keep = postgres.backups
    options = [f"--repo1-retention-full={keep.retention_full}"]
    options += [f"--repo1-retention-diff={keep.retention_diff}"] if keep.retention_diff else []
    LOG.info("%s: pgbackrest backup --type=%s", postgres.stanza, kind.option)
    try:
        pgbackrest.run(postgres, *options, f"--type={kind.option}", f"--annotation=dr-run={run}", "backup",
                       within=keep.within)  # fmt: skip
    except pgbackrest.Locked:
        return NotYet(f"the stanza is locked by {pgbackrest.holders(postgres)}")
    made = [one for one in _sets(postgres) if one.run == run]
    if not made:
        raise NotRecovered(
            f"pgBackRest ended with 0, and made no backup of {postgres.stanza}", "see its log on that host"
        )
    return made[-1]
