"""What is done with each file set every day: backed up and thinned out; then checked and tested by restoring."""

from __future__ import annotations

from runbooks.errors import NotRecovered
from runbooks.site import Site
from tasks import daily, file_backups, file_hosts, file_verification
from tasks.daily import Result


def back_up(site: Site, file_set: str, *, run: str) -> str:
    """A new complete snapshot is there, old ones are gone as the site says; what it came to.

    Raises:
        NotRecovered: it is not complete; it is kept, and no recovery chooses it by itself.
        Refused, Unavailable: none was made.
    """
    store = site.file_set(file_set).store
    return daily.done(site, "backup", store, lambda: _back_up(site, file_set, run), run=run)


def _back_up(site: Site, file_set: str, run: str) -> Result:
    of = site.file_set(file_set)
    with file_hosts.connect(site, of) as repository:
        file_backups.ensure_repository(site, repository)
        made = file_backups.back_up(site, repository, run=run)
        if not made.complete:
            raise NotRecovered(
                f"snapshot {made.snapshot[:8]} of {of.store} is not complete: {'; '.join(made.problems[:5])}",
                "may its user read all of the set, and does each of its paths exist?",
            )
        left = file_backups.forget(site, repository)
    told = f"{of.store}: snapshot {made.snapshot[:8]}, {made.files} files, {left} snapshots kept"
    return Result(told=told, backup=made.snapshot)


def verify(site: Site, file_set: str, *, run: str) -> str:
    """The repository is sound, one more part of its data was read, and some files came back as they were.

    Raises:
        NotRecovered: it is damaged, or a file did not come back.
        Refused, Unavailable: it could not be looked at, which is no success either.
    """
    store = site.file_set(file_set).store
    return daily.done(site, "verification", store, lambda: _verify(site, file_set, run), run=run)


def _verify(site: Site, file_set: str, run: str) -> Result:
    of = site.file_set(file_set)
    with file_hosts.connect(site, of) as repository:
        checked = file_backups.check(site, repository)
        tested = file_verification.verify(site, repository, run=run)
    told = (
        f"{of.store}: {len(checked.good)} of {checked.parts} parts of the data read so far, "
        f"{tested.files} files restored, {tested.by_checksum} compared by checksum"
    )
    return Result(told=told, backup=tested.snapshot, data_age_seconds=tested.data_age_seconds)
