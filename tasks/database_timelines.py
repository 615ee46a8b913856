"""The past of a timeline: which others it came from, where it left them and why, and which backup sets lie in it.

After a recovery to a point in time the repository still holds sets and WAL of the future that was given up. A restore
of such a set ends with "requested timeline is not a child of this server's history", when the database is down already.
"""

from __future__ import annotations

import re

from runbooks import wal
from runbooks.errors import Refused
from runbooks.model import Model
from tasks import database_backups, pgbackrest
from tasks.cases import Case
from tasks.database_backups import BackupSet, Repository
from tasks.database_server import Postgres

FIRST = 1
OWN = 'cat "$1/pg_wal/$(printf %08X "$2").history" 2>/dev/null || true'
HELD = 'cd "$1/pg_wal" && ls | grep -E "^[0-9A-F]{8}\\.history$" || true'
NAME = re.compile(r'"([0-9A-F]{8})\.history"')


class Fork(Model):
    """Where a timeline was left, and why, in PostgreSQL's own words."""

    timeline: int
    position: int
    reason: str


class Past(Model):
    """The forks that led to *timeline*, the oldest first; none for the first timeline."""

    timeline: int
    forks: tuple[Fork, ...]

    def holds(self, one: BackupSet) -> bool:
        """Did that set end on this timeline, or on an older one before it was left?"""
        on, stop = int(one.wal_stop[:8], 16), wal.position(one.stop_lsn)
        return on == self.timeline or any(f.timeline == on and stop <= f.position for f in self.forks)


def read(timeline: int, history: str) -> Past:
    """From the text of a history file."""
    lines = [line.split("\t", 2) for line in history.splitlines() if line.strip() and not line.startswith("#")]
    forks = tuple(Fork(timeline=int(on), position=wal.position(at), reason=why) for on, at, why in lines)
    return Past(timeline=timeline, forks=forks)


def own(postgres: Postgres, timeline: int) -> Past:
    """Of a server that runs. Raises: Refused: it has no history of that timeline."""
    text = postgres.sh(OWN, postgres.data, str(timeline))
    if not text and timeline != FIRST:
        raise Refused(f"{postgres.data}/pg_wal has no history of timeline {timeline}", "who removed it?")
    return read(timeline, text)


def past(postgres: Postgres, repository: Repository, timeline: int | None) -> Past:
    """Of *timeline*; None: of the newest that the archive knows, which is the one that recovery follows by default.

    Raises:
        Refused: neither the server nor the archive has its history.
        Unavailable: the repository does not answer.
    """
    known = timeline or newest(postgres, repository)
    text = postgres.sh(OWN, postgres.data, str(known))
    if not text and known != FIRST:
        name = f"archive/{postgres.stanza}/{repository.archive}/{known:08X}.history"
        text = pgbackrest.run(postgres, pgbackrest.SOON, "repo-get", name).text
    return read(known, text)


def newest(postgres: Postgres, repository: Repository) -> int:
    """Of all that the archive has a history of."""
    return max((int(name, 16) for name in _archived(postgres, repository)), default=FIRST)


def archive_all(case: Case, postgres: Postgres) -> None:
    """The archive knows every timeline that led to this server's.

    PostgreSQL archives the history of a timeline only where that began: one that it followed from another server, with
    an archive of its own, is missing here. Recovery counts upwards until a number is missing, so from an older set it
    would give this number to a second timeline, which no standby then follows.

    Changes: adds history files to the archive.

    Raises:
        Unavailable, Refused, NotRecovered: as pgbackrest.failed tells it.
    """
    known = _archived(postgres, database_backups.read(postgres))
    for name in postgres.sh(HELD, postgres.data).split():
        if name.removesuffix(".history") not in known:
            case.write(f"archive {name}", stanza=postgres.stanza)
            done = postgres.pgbackrest("archive-push", f"{postgres.data}/pg_wal/{name}", within=pgbackrest.ASKING)
            if done.exit_code != 0:
                said = done.stderr or done.stdout
                raise pgbackrest.failed(postgres.stanza, "archive-push", done.exit_code, done.how, said)


def _archived(postgres: Postgres, repository: Repository) -> list[str]:
    folder = f"archive/{postgres.stanza}/{repository.archive}"
    return NAME.findall(pgbackrest.run(postgres, pgbackrest.SOON, "--output=json", "repo-ls", folder).text)


def within(repository: Repository, seen: Past, *, before: str | None = None) -> Repository:
    """With only those sets that the past of this timeline holds, and that ended before this position in the WAL."""
    end = None if before is None else wal.position(before)
    sets = tuple(s for s in repository.sets if seen.holds(s) and (end is None or wal.position(s.stop_lsn) <= end))
    return repository.model_copy(update={"sets": sets})


def leading(postgres: Postgres, repository: Repository, timeline: int | None) -> Repository:
    """With only those sets that lead to *timeline*; None: to the newest that the archive knows."""
    return within(repository, past(postgres, repository, timeline))
