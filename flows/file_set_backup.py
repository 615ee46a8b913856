"""Every day each file set is backed up; two hours later its repository is checked, and some files are restored."""

from __future__ import annotations

from prefect import flow

from flows import starting
from runbooks import site as sites
from tasks import file_daily


@flow(name="file-set-backup", persist_result=False, validate_parameters=True)
def file_set_backup(site: str, file_set: str) -> str:
    """A new snapshot of the file set, and a record of what it holds; old snapshots are thinned out.

    Args:
        site: The site whose file names the set.
        file_set: Which of its file sets.
    """
    return file_daily.back_up(sites.load(site), file_set, run=starting.run_id_of(None))


@flow(name="file-set-verification", persist_result=False, validate_parameters=True)
def file_set_verification(site: str, file_set: str) -> str:
    """The repository is checked, one part of its data read, and files chosen by lot are restored and compared.

    Args:
        site: The site whose file names the set.
        file_set: Which of its file sets.
    """
    return file_daily.verify(sites.load(site), file_set, run=starting.run_id_of(None))
