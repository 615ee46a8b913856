"""The standbys of a database, and whether one of them could take its place. Reads only."""

from __future__ import annotations

import time
from collections.abc import Sequence

from runbooks.errors import RecoveryError, Refused
from runbooks.hosts import Server
from runbooks.model import Model
from runbooks.records import RunKind
from runbooks.site import Database
from tasks import database_server
from tasks.cases import Case
from tasks.clients import route53
from tasks.database_server import READ_WITHIN, Postgres

STATE = """select pg_is_in_recovery(), coalesce(pg_last_wal_receive_lsn()::text, ''),
    coalesce(pg_last_wal_replay_lsn()::text, ''), current_setting('data_checksums'),
    exists(select from pg_stat_wal_receiver where status = 'streaming')"""
BEHIND = "select greatest(pg_wal_lsn_diff(:'flushed'::pg_lsn, :'received'::pg_lsn), 0)::bigint"
CONNECTS_SECONDS = 7.0
"""A standby asks for its primary again every 5 s."""
FLUSHED = "select pg_current_wal_flush_lsn()"


class Candidate(Model):
    """`problem`: why it must not be promoted; null: it may. `behind_bytes` null: the primary does not tell any more."""

    host: str
    received: str | None = None
    behind_bytes: int | None = None
    problem: str | None = None

    @property
    def told(self) -> str:
        if self.problem is not None:
            return f"{self.host}: no, {self.problem}"
        behind = f"{self.behind_bytes} bytes behind" if self.behind_bytes is not None else "the primary is silent"
        return f"{self.host}: healthy, has received {self.received}, {behind}"


def look(case: Case, primary: Postgres, *, answers: bool, corrupt: Sequence[str]) -> tuple[Candidate, ...]:
    """Each standby: does it answer, follow, have all WAL, and can it read what is damaged on the primary?"""
    flushed = primary.value(FLUSHED) if answers else None
    return tuple(_look(case, server, flushed, corrupt) for server in database_server.database_of(case).standbys)


def _look(case: Case, server: Server, flushed: str | None, corrupt: Sequence[str]) -> Candidate:
    try:
        with database_server.standby(case, server) as one:
            return _judged(one, flushed, corrupt)
    except RecoveryError as error:
        return Candidate(host=server.host, problem=f"it does not answer ({error.problem[:120]})")


def _judged(one: Postgres, flushed: str | None, corrupt: Sequence[str]) -> Candidate:
    """A standby that does not stream is given the time in which it connects again: it has to receive the last record
    that the primary writes when it is stopped."""
    until = time.monotonic() + CONNECTS_SECONDS
    while True:
        [[recovering, received, replayed, checksums, streams]] = one.sql(STATE)
        received, behind = received or replayed, None
        if flushed is not None and received:
            behind = int(one.sql(BEHIND, flushed=flushed, received=received)[0][0])
        if flushed is None or streams == "t" or time.monotonic() > until:
            break
        time.sleep(0.5)
    problem = _problem(one, recovering, received, checksums, corrupt)
    if problem is None and behind and streams != "t":
        problem = f"it does not stream, and lacks the last {behind} bytes of WAL"
    return Candidate(host=one.server.host, received=received or None, behind_bytes=behind, problem=problem)


def _problem(one: Postgres, recovering: str, received: str, checksums: str, corrupt: Sequence[str]) -> str | None:
    if recovering != "t":
        return "it is no standby: it takes writes itself"
    if not received:
        return "it has received nothing"
    for table in corrupt:
        try:
            one.sql(f"copy (select * from {table}) to program 'cat >/dev/null'",
                    database=one.database.database, within=READ_WITHIN)  # fmt: skip
        except Refused as error:
            return f"{table} cannot be read there either ({error.problem[-120:]})"
    return None if checksums == "on" or not corrupt else "it has no checksums: that its pages are good is not known"


def obstacle(case: Case, database: Database, host: str) -> str | None:
    """Why clients could not be led to this standby; None: they can, or (sandbox) nobody is led there."""
    if case.kind is RunKind.SANDBOX:
        return None
    server = next(s for s in database.standbys if s.host == host)
    if server.lead is not None:
        return None
    if server.address is None:
        return f"the site file says neither address nor lead of {host}"
    try:
        route53.connect(case.site.dns).must_be_plain(database.host)
    except RecoveryError as error:
        return error.problem
    return None
