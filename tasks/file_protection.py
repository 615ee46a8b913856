"""After a restore the files are protected again: a new snapshot holds what was brought back."""

from __future__ import annotations

from runbooks.errors import NotRecovered
from tasks import file_backups, file_hosts, file_returns
from tasks.cases import Case


def back_up(case: Case) -> None:
    """A snapshot of after the restore is there, made by this run. Changes: the repository, by one snapshot.

    Raises:
        NotRecovered: it is not complete.
        Unavailable: it could not be made; the next scheduled backup may.
    """
    of = file_returns.set_of(case)
    with file_hosts.connect(case.site, of) as repository:
        made = file_backups.back_up(case.site, repository, run=case.run_id)
    if not made.complete:
        raise NotRecovered(
            f"the snapshot of {of.store} after the restore is not complete: {'; '.join(made.problems[:3])}",
            "may its user read all of the set?",
        )
    case.event(f"{of.store} is protected again: snapshot {made.snapshot[:8]}, {made.files} files")
