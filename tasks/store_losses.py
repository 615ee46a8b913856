"""What each store of an application has lost, and which backup bounds it."""

from __future__ import annotations

from datetime import datetime, timedelta

from runbooks.errors import RecoveryError, Refused
from runbooks.model import Json, now
from runbooks.records import FileRecord, State, StoreLoss
from runbooks.site import Markers
from tasks import losses, observer
from tasks.cases import Case
from tasks.database_backups import BackupSet
from tasks.losses import Count

BEFORE_BACKUP = timedelta(minutes=10)
EVERYTHING = timedelta(days=30)
UNKNOWN = Count(rpo_seconds=None, lost=None, given_up=None)


def count(
    case: Case, *, fault: datetime | None, backup_started_at: datetime | None, backup: dict[str, Json]
) -> tuple[StoreLoss, ...]:
    """By the observer's markers; a store without markers has lost nobody knows what, which is not 0.

    A restore of volumes goes back to *backup*, so its start bounds their loss; so does the time of *before*, when all
    its files came back. Rows live outside the namespace: no backup of it brings them back or bounds what they lost.
    """
    reference = fault or _started(case)
    bound = None if backup_started_at is None else (reference - backup_started_at).total_seconds()
    stores = [_marked(case, markers, backup_started_at, fault) for markers in case.application.markers]
    marked = {store.name for store in stores}
    stores += [_store(f.store, UNKNOWN) for f in case.application.files if f.store not in marked]
    unharmed = _unharmed(case)

    def bounded(store: StoreLoss) -> StoreLoss:
        recorded = unharmed.get(store.name) if store.lost is None else None
        nearest = bound if recorded is None else (reference - recorded).total_seconds()
        return store.model_copy(update={"bound_seconds": nearest, "backup": backup})

    return tuple(bounded(s) if s.name.startswith("volume:") else s for s in stores)


def of_rows(case: Case, fault: datetime | None, backup: BackupSet | None) -> tuple[StoreLoss, ...]:
    """Of the stores of rows, by the observer's markers since *backup*, which bounds what is lost in the worst case."""
    since, told = (backup.started_at, backup.summary()) if backup else (None, None)
    bound = ((fault or _started(case)) - since).total_seconds() if since else None
    return tuple(
        _marked(case, markers, since, fault).model_copy(update={"bound_seconds": bound, "backup": told})
        for markers in case.application.markers
        if markers.store.startswith("rows:")
    )


def _unharmed(case: Case) -> dict[str, datetime]:
    """The stores of which every file of *before* is there after, and when *before* was recorded."""
    try:
        before, after = case.load("before", State), case.load("after", State)
    except Refused:
        return {}
    found = {manifest.store: manifest.files for manifest in after.files}
    return {
        manifest.store: manifest.taken_at
        for manifest in before.files
        if manifest.files and _contents(manifest.files).items() <= _contents(found.get(manifest.store, {})).items()
    }


def _contents(files: dict[str, FileRecord]) -> dict[str, tuple[int, str]]:
    return {name: (record.size_bytes, record.sha256) for name, record in files.items()}


def _started(case: Case) -> datetime:
    return case.journal.entries[0].at


def _store(name: str, found: Count) -> StoreLoss:
    return StoreLoss(name=name, bound_seconds=None, **found.model_dump())


def _marked(case: Case, markers: Markers, backup_started_at: datetime | None, fault: datetime | None) -> StoreLoss:
    widest = now() - EVERYTHING
    since = backup_started_at - BEFORE_BACKUP if backup_started_at else widest
    try:
        found = _count(case, markers, since, fault)
        if found.lost and found.rpo_seconds is None and fault is not None:  # the hole begins before the window
            found = _count(case, markers, widest, fault)
    except RecoveryError as error:
        case.note("unknown", what=f"loss of {markers.store}: {error.problem}")
        found = UNKNOWN
    return _store(markers.store, found)


def _count(case: Case, markers: Markers, since: datetime, fault: datetime | None) -> Count:
    where, name = observer.directory(case.site, case.run_id), case.application.name
    gone = losses.lost_before(where, name, markers.store, fault or _started(case))
    written = [m for m in losses.of(where, name, markers.store, since) if m.seq not in gone]
    if not written:
        return UNKNOWN
    present = losses.present(markers, case.site.dns, after=min(m.seq for m in written) - 1)
    return losses.count(written, present, fault)
