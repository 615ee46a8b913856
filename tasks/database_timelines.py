"""The timelines of a database: a set that was taken on one which it has left since leads to somewhere else.

After a recovery to a point in time the newest set may belong to what was given up: PostgreSQL refuses to start from it
("not a child of this server's history"), or comes out where nobody wants to be.
"""

from __future__ import annotations

from tasks import pgbackrest
from tasks.database_backups import BackupSet, Repository
from tasks.database_server import Postgres

HISTORY = 'cat "$1/pg_wal/$2.history" 2>/dev/null || true'


def leading(postgres: Postgres, repository: Repository, timeline: int | None) -> Repository:
    """The repository, with only those of its sets that lead to *timeline*; None: to the newest that is archived."""
    newest = timeline or _newest(repository)
    if newest is None:
        return repository
    left = _left(_history(postgres, repository, newest))
    sets = tuple(one for one in repository.sets if leads(one, newest, left))
    return repository.model_copy(update={"sets": sets})


def leads(one: BackupSet, timeline: int, left: dict[int, int]) -> bool:
    """*left*: by timeline, the position at which the database left it."""
    on = int(one.wal_stop[:8], 16)
    return on == timeline or (on in left and position(one.stop_lsn) <= left[on])


def position(lsn: str) -> int:
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _newest(repository: Repository) -> int | None:
    return None if repository.newest_wal is None else int(repository.newest_wal[:8], 16)


def _history(postgres: Postgres, repository: Repository, timeline: int) -> str:
    """Of the server's own files, else of the archive; the first timeline has none."""
    name = f"{timeline:08X}"
    if timeline == 1:
        return ""
    own = postgres.sh(HISTORY, postgres.data, name)
    if own.strip():
        return own
    path = f"archive/{postgres.stanza}/{repository.archive}/{name}.history"
    return pgbackrest.run(postgres, pgbackrest.SOON, "repo-get", path).text


def _left(history: str) -> dict[int, int]:
    lines = [line.split("\t") for line in history.splitlines() if line.strip() and not line.startswith("#")]
    return {int(number): position(lsn) for number, lsn, *_ in lines}
