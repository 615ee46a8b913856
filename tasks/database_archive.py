"""WAL that has just been written comes into the archive."""

from __future__ import annotations

from datetime import timedelta

from runbooks.errors import NotRecovered
from tasks import database_backups, pgbackrest
from tasks.database_server import Postgres
from tasks.waits import NotYet, wait_until

WITHIN = timedelta(seconds=60)
SWITCH = """select pg_logical_emit_message(false, 'dr-runbooks', 'is this archived?');
    select pg_walfile_name(pg_switch_wal())"""
"""With nothing written since the segment before it ends none, and names that one, which may be archived long since."""
ARCHIVER = """select current_setting('archive_mode'), coalesce(last_archived_wal, ''), failed_count
    from pg_stat_archiver"""
TRIES = 2
"""PostgreSQL makes three, a second apart, and then none for a minute; the first may have been made already."""


HINT = "see archive_command, PostgreSQL's log and pg_stat_archiver"


def switch(postgres: Postgres) -> str:
    """The segment that is ended by this: all that was committed before lies in it, or in one before it."""
    return postgres.sql(SWITCH)[-1][0]


def wait_for(postgres: Postgres, segment: str) -> str:
    """The newest archived segment, once *segment* is archived, too, as the server says.

    Raises:
        NotRecovered: not within a minute; it fails, or is switched off.
    """
    [[mode, _, before]] = postgres.sql(ARCHIVER)
    if mode == "off":
        raise NotRecovered("archive_mode is off", HINT)

    def look() -> str | NotYet:
        [[_, last, failed]] = postgres.sql(ARCHIVER)
        if last[8:24] >= segment[8:24] and last[:8] >= segment[:8]:
            return last
        if int(failed) >= int(before) + TRIES:
            raise NotRecovered(f"archive_command has failed {TRIES} times since WAL {segment} was ended", HINT)
        return NotYet(last or "nothing")

    return wait_until(look, within=WITHIN, what=f"WAL {segment} archived", otherwise=NotRecovered, hint=HINT)


def must_hold(postgres: Postgres, segment: str) -> None:
    """The server believes its archive_command, which may do nothing, or go to another repository.

    Raises:
        NotRecovered: the segment is not there.
    """
    folder = f"archive/{postgres.stanza}/{database_backups.read(postgres).archive}/{segment[:16]}"
    held = pgbackrest.run(postgres, pgbackrest.SOON, f"--filter=^{segment}-", "repo-ls", folder).text
    if segment not in held:
        raise NotRecovered(f"the server says that WAL {segment} is archived; the repository has none in {folder}", HINT)
