"""Is the WAL that a recovery needs in the archive? PostgreSQL takes a gap for the end, and promotes there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta

from runbooks import wal
from runbooks.errors import NotRecovered, Refused
from tasks import database_backups, pgbackrest
from tasks.database_backups import BackupSet, Repository
from tasks.database_server import Postgres
from tasks.database_timelines import Past
from tasks.waits import NotYet, wait_until

LISTING = timedelta(minutes=10)
ON_THE_WAY = timedelta(seconds=5)
"""With archive-async a segment may come before the one that is older."""
SEGMENT = "select setting::bigint from pg_settings where name = 'wal_segment_size'"


def must_have_no_gap(
    postgres: Postgres, repository: Repository, chosen: BackupSet, past: Past, *, held: Sequence[str],
    before: str | None, size: int,
) -> None:  # fmt: skip
    """From the start of *chosen* on, every segment is there up to the newest one of this timeline, in the archive or
    among those *held*; of the timeline itself at least the first one, unless the target lies *before* it began. Each
    has *size* bytes.

    Raises:
        Refused: one is missing. Recovery would end before it, or go on along the timeline that was given up, and say
            nothing. Nothing was changed.
        Unavailable: the repository does not answer.
    """
    last = _must_reach(chosen, past, before, size)

    def look() -> bool | NotYet:
        there = [*_listed(postgres, repository, past), *(name for name in held if _timeline(name) in _ours(past))]
        missing = wal.gaps(there, _timelines(past), chosen.wal_start, last, size=size)
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        return NotYet(f"{', '.join(missing[:3])}{more}") if missing else True

    began = f"target_lsn={wal.lsn(past.forks[-1].position)}, " if last != chosen.wal_stop else ""
    wait_until(
        look, within=ON_THE_WAY, what=f"WAL behind backup {chosen.label} up to timeline {past.timeline}",
        otherwise=Refused,
        hint="recovery would silently end before the gap, or follow what was given up: choose another --backup, "
             f"a target before it ({began}…), or way=promote",
    )  # fmt: skip


def _must_reach(chosen: BackupSet, past: Past, before: str | None, size: int) -> str:
    if not past.forks or int(chosen.wal_stop[:8], 16) == past.timeline:
        return chosen.wal_stop
    began = past.forks[-1].position
    if before is not None and wal.position(before) <= began:
        return chosen.wal_stop
    return wal.segment(past.timeline, began, size=size)


def archived(postgres: Postgres, folders: Iterable[str]) -> set[str]:
    """The segments that the archive has in these of its folders, each named by the first 16 digits of what is in it.

    Raises: Unavailable: the repository does not answer.
    """
    where = f"archive/{postgres.stanza}/{database_backups.read(postgres).archive}"
    listed = [pgbackrest.run(postgres, pgbackrest.SOON, "--output=json", "repo-ls", f"{where}/{folder}").stdout
              for folder in sorted(folders)]  # fmt: skip
    return {name for one in listed for path in json.loads(one) if (name := wal.name(path))}


def must_be_read_to_its_end(postgres: Postgres, timeline: int, ended_at: int) -> None:
    """Recovery ended at that position, in the newest segment that the archive holds of *timeline*, or later.

    What pgBackRest cannot unpack is for PostgreSQL not there: it promotes before it, with the same words as at the end.

    Raises:
        NotRecovered: it ended before; what was committed since is missing.
    """
    repository = database_backups.read(postgres)
    past = Past(timeline=timeline, forks=())
    newest = max((name for path in _listed(postgres, repository, past) if (name := wal.name(path))), default=None)
    size = int(postgres.value(SEGMENT))
    if newest is not None and ended_at < wal.begin(newest, size=size):
        last = wal.segment(timeline, ended_at, size=size)
        raise NotRecovered(
            f"recovery ended in WAL segment {last}, and the archive holds WAL up to {newest}",
            f"{last} or the one behind it is damaged in the archive: pgbackrest verify tells. Its original may lie in "
            "pg_wal of the old directory or of a standby; or go back with way=promote. Clients are still kept out",
        )


def _listed(postgres: Postgres, repository: Repository, past: Past) -> list[str]:
    """The segments of the timelines that lead to this one."""
    folder = f"archive/{postgres.stanza}/{repository.archive}"
    done = pgbackrest.run(postgres, pgbackrest.SOON, "--recurse", "--output=json", "repo-ls", folder, within=LISTING)
    return [name for name in json.loads(done.stdout) if _timeline(name) in _ours(past)]


def _ours(past: Past) -> set[int]:
    return {past.timeline, *(fork.timeline for fork in past.forks)}


def _timeline(name: str) -> int | None:
    found = wal.SEGMENT.search(name)
    return None if found is None else int(found[1], 16)


def _timelines(past: Past) -> list[wal.Timeline]:
    on = [*(fork.timeline for fork in past.forks), past.timeline][1:]
    return [
        wal.Timeline(number=number, parent=fork.timeline, switched_at=fork.position)
        for number, fork in zip(on, past.forks, strict=True)
    ]
