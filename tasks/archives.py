"""Is the WAL in the repository without a gap up to now, and does it come there in time?"""

from __future__ import annotations

import json
import re
from datetime import timedelta

from runbooks import wal
from runbooks.errors import Refused
from runbooks.model import Model, spell
from tasks import database_backups, pgbackrest
from tasks.database_backups import Repository
from tasks.database_server import Postgres

ON_TIME = "on time"
COMPLETE = "nothing is missing"
LISTING = timedelta(minutes=30)
WAL_NAME = re.compile(r"[0-9A-F]{24}$")
ARCHIVER = """
select current_setting('archive_mode'),
    extract(epoch from current_setting('archive_timeout')::interval)::int,
    coalesce(extract(epoch from clock_timestamp() - min(r.modification)), 0)::int, count(r.name),
    coalesce(a.last_failed_time > a.last_archived_time, a.last_failed_time is not null),
    coalesce(a.last_archived_wal, ''), coalesce(a.last_failed_wal, ''), pg_walfile_name(pg_current_wal_lsn()),
    (select setting from pg_settings where name = 'wal_segment_size'), pg_postmaster_start_time()
from pg_stat_archiver a left join pg_ls_archive_statusdir() r on r.name like '%.ready'
group by a.last_failed_time, a.last_archived_time, a.last_archived_wal, a.last_failed_wal
"""


class Archiver(Model):
    """What the server says of its archiving. `waiting` segments are done and not sent, the oldest since so long."""

    mode: str
    timeout_seconds: int
    oldest_seconds: int
    waiting: int
    is_failing: bool
    last_archived: str
    last_failed: str
    current: str
    segment_bytes: int
    started_at: str

    @property
    def timeline(self) -> str:
        return self.current[:8]


def ask(postgres: Postgres) -> Archiver:
    """Raises: Unavailable: the server does not answer; Refused: it is a standby, or does not let us ask."""
    [row] = postgres.sql(ARCHIVER)
    return Archiver.model_validate(dict(zip(Archiver.model_fields, row, strict=True)))


def lag(archiver: Archiver, limit: timedelta) -> str:
    """`on time`, or what is wrong: what is not archived is lost with the host."""
    if archiver.mode == "off":
        return "archive_mode is off"
    if archiver.is_failing:
        return f"the last try failed, of {archiver.last_failed}; {archiver.waiting} segments wait"
    if archiver.oldest_seconds > limit.total_seconds():
        told = f"the oldest of {archiver.waiting} waiting segments is {archiver.oldest_seconds} s old"
        return f"{told}, allowed are {spell(limit)}"
    if not 0 < archiver.timeout_seconds <= limit.total_seconds():
        told = spell(timedelta(seconds=archiver.timeout_seconds))
        return f"archive_timeout is {told}: a segment that is not full may wait for longer than {spell(limit)}"
    return ON_TIME


def missing(postgres: Postgres, before: Repository, archiver: Archiver) -> str:
    """`nothing is missing` of all WAL from the oldest restorable backup up to what the server has archived, or what is,
    and from which backup on all is there.

    pgBackRest's own `verify` of 2.45 does not see a segment that was deleted. Reads only.
    """
    folder = f"archive/{postgres.stanza}/{before.archive}"
    done = pgbackrest.run(postgres, pgbackrest.SOON, "--recurse", "--output=json", "repo-ls", folder, within=LISTING)
    listed = list(json.loads(done.stdout))
    known = [_timeline(postgres, folder, name) for name in listed if wal.HISTORY.match(name)]
    timelines = [one for one in known if one is not None]
    kept = {one.label for one in database_backups.read(postgres).usable}  # one that expired meanwhile needs nothing
    sets = [one for one in before.usable if one.label in kept]
    if not sets:
        raise Refused("there is no usable backup that WAL could be replayed on", "take a full one: dr backups make")
    last = archiver.last_archived if WAL_NAME.match(archiver.last_archived) else sets[-1].wal_stop
    size, last = archiver.segment_bytes, max(last, sets[-1].wal_stop)
    gone = wal.gaps(listed, timelines, sets[0].wal_start, last, size=size)
    gone += [name for one in sets for name in wal.between(one.wal_start, one.wal_stop, size=size)
             if name not in gone and not wal.is_there(name, listed)]  # fmt: skip
    if not gone:
        return COMPLETE
    more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
    whole = [one.label for one in sets if not wal.gaps(listed, timelines, one.wal_start, last, size=size)]
    behind = f"backup {whole[0]} lies behind the gap" if whole else "no backup lies behind the gap"
    return f"missing: {', '.join(gone[:3])}{more}; {behind}"


def _timeline(postgres: Postgres, folder: str, name: str) -> wal.Timeline | None:
    return wal.timeline(name, pgbackrest.run(postgres, pgbackrest.SOON, "repo-get", f"{folder}/{name}").text)
