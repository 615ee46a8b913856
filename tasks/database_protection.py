"""After a recovery the database is protected again: the archive takes WAL, and a new full backup is there."""

from __future__ import annotations

from runbooks.errors import NotRecovered
from runbooks.records import Severity
from tasks import database_backups, database_fence, database_plan, database_server, database_timelines
from tasks.cases import Case
from tasks.database_server import Postgres
from tasks.waits import NotYet, wait_until

LOCK_HELD = 50


def check(case: Case) -> None:
    """`pgbackrest check` passes, and a full backup that this run began has ended without errors.

    Changes: one backup, and histories of timelines in the archive. A new timeline can be recovered from old sets, but
    only by a chain that nobody has tried.

    Raises:
        NotRecovered: it is not protected, with the reason.
    """
    with database_server.primary(case) as postgres:
        checked = postgres.pgbackrest("check", within=case.within("clean_up"))
        if checked.exit_code != 0:
            raise NotRecovered(f"pgbackrest check {checked.how}: {checked.said}", "does archiving work?")
        database_timelines.archive_all(case, postgres)
        if _taken(case, postgres) is None:
            case.write(f"take a full backup of {postgres.database.name}", stanza=postgres.stanza)
            _take(case, postgres)
        taken = _taken(case, postgres)
    if taken is None or taken.has_errors:
        raise NotRecovered(
            f"the new full backup of {case.application.name} {'has errors' if taken else 'is not there'}",
            "until there is one the next loss may be larger than the RPO: pgbackrest info",
        )
    case.event(f"full backup {taken.label} is there")


def _taken(case: Case, postgres: Postgres) -> database_backups.BackupSet | None:
    return next((s for s in database_backups.read(postgres).sets if s.run == case.run_id), None)


def _take(case: Case, postgres: Postgres) -> None:
    """Another backup that holds the lock is waited for; it may be this run's own, of an attempt that was killed."""

    def look() -> bool | NotYet:
        if _taken(case, postgres) is not None:
            return True
        done = postgres.pgbackrest(
            "--type=full", f"--annotation=dr-run={case.run_id}", "backup", within=case.within("clean_up")
        )
        if done.exit_code == LOCK_HELD:
            return NotYet("another backup holds the lock")
        if done.exit_code != 0:
            raise NotRecovered(f"pgbackrest backup {done.how}: {done.said}", "see its log; pgbackrest info")
        return True

    wait_until(
        look, within=case.within("clean_up"), what="the new full backup", otherwise=NotRecovered,
        hint="pgbackrest info shows who holds the lock", pause_seconds=1,
    )  # fmt: skip


def keep(case: Case, *, recovered: bool) -> None:
    """What lies aside is named; it is a person's to delete, once nothing in it is needed any more."""
    recorded = case.recorded("database_restore.set_aside")
    directory = recorded["evidence"]["directory"] if recorded else None
    if directory is None:
        return
    case.note("application", name=case.application.name, kept=[f"directory {directory}"])
    if not recovered:
        case.finding(
            "old directory kept", case.application.name, Severity.YELLOW,
            f"the recovery was not proven; the old data directory lies in {directory}",
            "look into it before you delete it",
        )  # fmt: skip


def let_in(case: Case) -> None:
    """A run that did not come so far that it stopped the server leaves no fence behind.

    Raises:
        NotRecovered: clients are still kept out, since the data was not proven.
    """
    if case.recorded("database_fence.close") is None or case.recorded("database_fence.open") is not None:
        return
    with database_server.primary(case) as postgres:
        if not postgres.answers() or not database_fence.is_closed(postgres, postgres.value("show hba_file")):
            return
    raise NotRecovered(
        "clients are still kept out of the database: the recovery was not proven",
        f"when it is good: remove the block of dr-runbooks from pg_hba.conf and reload ({database_plan.of(case).way})",
    )
