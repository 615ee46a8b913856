"""Every day each backup is proven by restoring from it: see `flows.scheduled_backups` for the names."""

from __future__ import annotations

from prefect import flow

from flows import starting
from runbooks import site as sites
from tasks import database_daily, file_daily


@flow(name="database-verification", persist_result=False, validate_parameters=True)
def database_verification(site: str, database: str) -> str:
    """The newest backup is restored beside, started, asked and read; WAL has no gap up to now, and comes in time.

    Args:
        site: The site whose file names the database.
        database: Which of its databases.
    """
    return database_daily.verify(sites.load(site), database, run=starting.run_id_of(None))


@flow(name="file-set-verification", persist_result=False, validate_parameters=True)
def file_set_verification(site: str, file_set: str) -> str:
    """The repository is checked, one part of its data read, and files chosen by lot are restored and compared.

    Args:
        site: The site whose file names the set.
        file_set: Which of its file sets.
    """
    return file_daily.verify(sites.load(site), file_set, run=starting.run_id_of(None))
