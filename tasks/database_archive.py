"""WAL that has just been written comes into the archive."""

from __future__ import annotations

from datetime import timedelta

from runbooks.errors import NotRecovered
from tasks.database_server import Postgres
from tasks.waits import NotYet, wait_until

WITHIN = timedelta(seconds=60)
SWITCH = "select pg_walfile_name(pg_switch_wal())"
ARCHIVED = "select coalesce(last_archived_wal, '') from pg_stat_archiver"


def switch(postgres: Postgres) -> str:
    """The segment that is ended by this: all that was committed before lies in it, or in one before it."""
    return postgres.value(SWITCH)


def wait_for(postgres: Postgres, segment: str) -> str:
    """The newest archived segment, once *segment* is archived, too. Raises: NotRecovered: not within a minute."""

    def look() -> str | NotYet:
        last = postgres.value(ARCHIVED)
        return last if last[8:24] >= segment[8:24] and last[:8] >= segment[:8] else NotYet(last or "nothing")

    return wait_until(
        look, within=WITHIN, what=f"WAL {segment} archived", otherwise=NotRecovered, hint="see pg_stat_archiver"
    )
