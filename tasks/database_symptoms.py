"""What is wrong with a database: files, pages, WAL, answers, standbys. Reads only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from runbooks import wal
from runbooks.errors import RecoveryError, Refused
from runbooks.model import Model
from tasks import database_candidates, database_server
from tasks.cases import Case
from tasks.database_candidates import Candidate
from tasks.database_server import Postgres
from tasks.steps import step

FILES = """
[ -s "$1/global/pg_control" ] && [ -s "$1/PG_VERSION" ] && [ -d "$1/base" ] && echo files
[ -z "$(ls -A "$1/pg_tblspc" 2>/dev/null)" ] || echo tablespaces
ls "$1/pg_wal" 2>/dev/null | grep -Eq '^[0-9A-F]{24}$' && echo wal
true
"""
TIMELINE = re.compile(r"^(?:Latest checkpoint's TimeLineID|Min recovery ending loc's timeline):\s*(\d+)$", re.MULTILINE)
"""Up to the first checkpoint after a promotion, which may take five minutes, the second one alone tells the new one."""
SEGMENT = re.compile(r"^Bytes per WAL segment:\s*(\d+)$", re.MULTILINE)
INVALID_PAGE = re.compile(r"invalid page in block \d+ of relation (\S+)|could not read block \d+ in file \"([^\"]+)\"")
READ_WITHIN = timedelta(hours=1)
TABLES = """select quote_ident(n.nspname) || '.' || quote_ident(c.relname) from pg_class c
    join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'm') and c.relpersistence = 'p'
    and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') order by c.relpages desc"""


PATHS = """select pg_relation_filepath(c.oid) from pg_class c where c.oid = :'table'::regclass
    or c.oid in (select indexrelid from pg_index where indrelid = :'table'::regclass)
    or c.oid = (select reltoastrelid from pg_class where oid = :'table'::regclass)"""


class Found(Model):
    has_files: bool
    has_wal: bool
    has_tablespaces: bool = False
    answers: bool
    corrupt: tuple[str, ...]
    damaged: tuple[str, ...] = ()
    """The files of what is corrupt, with their indexes and what is kept out of line; relative to the data directory."""
    timeline: int | None
    segment_bytes: int = wal.SEGMENT_BYTES
    """Of WAL; as always, when nobody tells."""
    standbys: tuple[Candidate, ...]

    @property
    def told(self) -> str:
        if not self.has_files:
            return "the data directory is lost or badly damaged"
        if not self.has_wal:
            return "pg_wal is empty"
        if self.corrupt:
            return f"pages of {', '.join(self.corrupt)} are corrupt"
        return "it answers, and its pages can be read" if self.answers else "it does not answer, its files are there"


@step
def look(case: Case) -> Found:
    """Looks at the files, the pages of every table, and the standbys. Reads only.

    Raises:
        Unavailable: the host does not answer.
    """
    with database_server.primary(case) as postgres:
        seen = postgres.sh(FILES, postgres.data).split()
        answers = postgres.answers()
        control = postgres.run([postgres.program("pg_controldata"), postgres.data]).text
        timelines = [int(one) for one in TIMELINE.findall(control)]
        corrupt = unreadable(postgres) if answers else _checksums(postgres) if "files" in seen else ()
        return Found(
            has_files="files" in seen,
            has_wal="wal" in seen,
            has_tablespaces="tablespaces" in seen,
            answers=answers,
            corrupt=corrupt,
            damaged=_files_of(postgres, corrupt) if answers else corrupt,
            timeline=max(timelines, default=None),
            segment_bytes=_segment_bytes(case, control),
            standbys=database_candidates.look(case, postgres, answers=answers, corrupt=corrupt if answers else ()),
        )


def _segment_bytes(case: Case, control: str) -> int:
    """By *control*, which pg_controldata has said of the primary, else by that of a standby."""
    for server in database_server.database_of(case).standbys if SEGMENT.search(control) is None else ():
        try:
            with database_server.standby(case, server) as one:
                control += one.run([one.program("pg_controldata"), one.data]).text
        except RecoveryError as error:
            case.event(f"standby {server.host} does not tell its settings: {error.problem}")
    found = SEGMENT.search(control)
    return wal.SEGMENT_BYTES if found is None else int(found[1])


def unreadable(postgres: Postgres, only: Sequence[str] = ()) -> tuple[str, ...]:
    """Tables that cannot be read to their end; checksum counters see only pages that somebody has read.

    *only*: of these; a name that is no table's, such as a file's, stands for all tables.
    """
    name, found = postgres.database.database, []
    tables = [table for [table] in postgres.sql(TABLES, database=name)]
    for table in only if only and set(only) <= set(tables) else tables:
        try:
            postgres.sql(f"copy (select * from {table}) to program 'cat >/dev/null'", database=name, within=READ_WITHIN)
        except Refused as error:
            if INVALID_PAGE.search(error.problem):
                found.append(table)
            elif "permission" not in error.problem:
                raise
    return tuple(found)


def _files_of(postgres: Postgres, tables: Sequence[str]) -> tuple[str, ...]:
    name = postgres.database.database
    rows = [row for table in tables for row in postgres.sql(PATHS, database=name, table=table)]
    return tuple(row[0] for row in rows if row[0])


def _checksums(postgres: Postgres) -> tuple[str, ...]:
    """Files with wrong checksums, of a server that is down."""
    if postgres.processes():
        return ()
    argv = [postgres.program("pg_checksums"), "--check", f"--pgdata={postgres.data}"]
    said = postgres.run(argv, within=READ_WITHIN).stderr.decode(errors="replace")
    files = set(re.findall(r'checksum verification failed in file "([^"]+)"', said))
    return tuple(sorted(file.removeprefix(f"{postgres.data}/") for file in files))


def of(case: Case) -> Found:
    """What this run has found. Raises: Refused: it has not looked yet."""
    recorded = case.recorded("database_symptoms.look")
    if recorded is None:
        raise Refused(f"run {case.run_id} has not looked at the database yet", "the diagnosis does")
    return Found.model_validate(recorded["evidence"])
