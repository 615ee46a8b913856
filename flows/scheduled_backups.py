"""Backups by the site's schedules. Of databases by pgBackRest: full, differential, incremental; of file sets by restic.

Four flows make up every day, each registered per database and file set: `database-backup` and `file-set-backup` here,
`database-verification` and `file-set-verification` in `flows.backup_verification`.
"""

from __future__ import annotations

from prefect import flow

from flows import starting
from runbooks import site as sites
from runbooks.hosts import BackupKind
from tasks import database_daily, file_daily


@flow(name="database-backup", persist_result=False, validate_parameters=True)
def database_backup(site: str, database: str, kind: BackupKind = BackupKind.FULL) -> str:
    """A new backup of the database; old ones are thinned out. Red for corrupt pages, too: pgBackRest only warns.

    Args:
        site: The site whose file names the database.
        database: Which of its databases.
        kind: A larger one that was begun since this one was due will do.
    """
    run, due = starting.run_id_of(None), starting.due()
    return database_daily.back_up(sites.load(site), database, kind, run=run, due=due)


@flow(name="file-set-backup", persist_result=False, validate_parameters=True)
def file_set_backup(site: str, file_set: str) -> str:
    """A new snapshot of the file set, and a record of what it holds; old snapshots are thinned out.

    Args:
        site: The site whose file names the set.
        file_set: Which of its file sets.
    """
    return file_daily.back_up(sites.load(site), file_set, run=starting.run_id_of(None))
