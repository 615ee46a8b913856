"""What of the daily work is overdue: its schedule asked for it, and nothing was kept since. Reads only.

A backup that was never made leaves no red entry behind: only the schedule knows that one is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from cronsim import CronSim

from runbooks.errors import RecoveryError
from runbooks.file_sets import BACKUP_CRON, VERIFICATION_CRON
from runbooks.hosts import BackupKind
from runbooks.model import Instant, Model, now, rfc3339
from runbooks.site import Database, Site
from tasks import history
from tasks.history import Entry, What

FILES_WITHIN = timedelta(hours=6)
LOOKED_BACK = 200
"""A week of hourly backups, and more."""


class Due(Model):
    """What a schedule asks for. One of the `kinds` will do; none named: any. It may take as long as `within`."""

    store: str
    what: What
    kinds: tuple[str, ...] = ()
    cron: str
    within: timedelta

    @property
    def name(self) -> str:
        return f"{self.kinds[0]} {self.what}" if self.kinds else self.what


class Overdue(Model):
    """`since`: when it was due; `last`: when the one before was begun, None: never."""

    due: Due
    since: Instant
    last: Instant | None

    @property
    def problem(self) -> str:
        last = f"the last one began at {rfc3339(self.last)}" if self.last else "there never was one"
        return f"{self.due.name} of {self.due.store} is overdue since {rfc3339(self.since)}: {last}"

    @property
    def hint(self) -> str:
        kind, _, name = self.due.store.partition(":")
        option = "--file-set" if kind == "files" else "--database"
        command = "make" if self.due.what == "backup" else "verify"
        by_hand = f"dr backups {command} {option} {name}"
        by_hand += f" --kind {self.due.kinds[0]}" if self.due.kinds else ""
        return f"does dr serve run, and is the schedule active (dr deploy)? by hand: {by_hand}"


def look(site: Site, stores: tuple[str, ...] | None = None, *, at: Instant | None = None) -> tuple[Overdue, ...]:
    """Of all stores of the site, or of some, in the order of the site file.

    Raises: as the evidence store; Unavailable: an entry of the history is altered.
    """
    wanted = [due for due in of(site) if stores is None or due.store in stores]
    return tuple(found for due in wanted if (found := _look(site, due, at or now())) is not None)


def of(site: Site) -> Iterator[Due]:
    """All that the schedules of a site ask for."""
    for database in site.databases:
        yield from _of_database(database)
    for one in site.file_sets:
        yield Due(store=one.store, what="backup", cron=BACKUP_CRON, within=FILES_WITHIN)
        yield Due(store=one.store, what="verification", cron=VERIFICATION_CRON, within=FILES_WITHIN)


def _of_database(database: Database) -> Iterator[Due]:
    store, backups, test = f"rows:{database.name}", database.backups, database.restore_test
    if backups is None:
        return
    names = [kind.value for kind in BackupKind]
    for number, kind in enumerate(names):
        if (cron := getattr(backups, kind)) is not None:
            kinds = (kind, *names[:number])
            yield Due(store=store, what="backup", kinds=kinds, cron=cron, within=backups.within)
    if test is not None:
        yield Due(store=store, what="verification", cron=test.cron, within=test.within)


def _look(site: Site, due: Due, at: Instant) -> Overdue | None:
    """The newest time of the schedule that had its time to be done; what was begun since will do."""
    times = CronSim(due.cron, at, reverse=True)
    newest, before = next(times), next(times)
    since = newest if at - newest > min(due.within, (newest - before) / 2) else before
    began = history.began(site, due.store)
    is_younger = began is not None and began > since
    if is_younger or any(_will_do(due, one) for one in history.read(site, (due.store,), what=due.what, since=since)):
        return None
    older = history.read(site, (due.store,), what=due.what, last=LOOKED_BACK)
    last = max((entry.at for entry in older if _will_do(due, entry)), default=None)
    return Overdue(due=due, since=since, last=last)


def _will_do(due: Due, entry: Entry) -> bool:
    return not due.kinds or entry.kind in due.kinds


def told(site: Site) -> tuple[str, ...]:
    """Some words for each, for the log and the channel of another flow, which it does not fail."""
    try:
        return tuple(f"OVERDUE: {one.problem}\nHINT: {one.hint}" for one in look(site))
    except RecoveryError as error:
        return (f"whether anything is overdue is not known: {error.problem}\nHINT: {error.hint}",)
