"""Where recovery stops when data is wrong: before one transaction, found by its number or by when it committed."""

from __future__ import annotations

from datetime import UTC, datetime

from runbooks.database_ways import Options, Target, postgres_time
from runbooks.errors import RecoveryError, Refused
from runbooks.model import Instant, rfc3339
from tasks.cases import Case
from tasks.database_server import READ_WITHIN, Postgres
from tasks.database_symptoms import Found

COMMITTED = "select pg_xact_commit_timestamp('{xid}'::xid)::timestamptz(6) at time zone 'UTC'"
KNOWN = "select count(*) from pg_settings where name = 'track_commit_timestamp' and setting = 'on'"
BEHIND = "select :'lsn'::pg_lsn > pg_current_wal_lsn()"
HALF = 1 << 31
"""Transaction numbers come round: what is further ahead than that is in the past."""
FIRST_SINCE = """
with newest as (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint as top)
select x % 4294967296, ts at time zone 'UTC' from (
    select x, pg_xact_commit_timestamp((x % 4294967296)::text::xid) as ts from newest,
    lateral generate_series(greatest(newest.top - :window, 3), newest.top - 1) x where x % 4294967296 > 2
) seen where ts >= :'since'::timestamptz order by ts, x limit 1
"""
WINDOW = 20_000_000
"""How many transactions are looked through, newest first: a few seconds for all of them."""
NEWEST = """
cd "$1/pg_wal" 2>/dev/null || exit 0
newest=$(ls | grep -E '^[0-9A-F]{24}$' | sort | tail -n 1 | cut -c 1-8)
[ -n "$newest" ] || exit 0
"""
"""The timeline of the WAL that lies there; without any there is nothing to say."""
RECORD = (
    NEWEST
    + """
"$2/pg_waldump" --path=. --timeline="$((0x$newest))" --start="$3" --limit=1 2>/dev/null |
    sed -n 's/.* lsn: \\([0-9A-F/]*\\),.*/\\1/p'
"""
)
COMMIT_OF = (
    NEWEST
    + """
first=$(ls | grep -E "^$newest[0-9A-F]{16}$" | sort | head -n 1)
last=$(ls | grep -E "^$newest[0-9A-F]{16}$" | sort | tail -n 1)
"$2/pg_waldump" --rmgr=Transaction --path=. "$first" "$last" 2>/dev/null |
    sed -n 's/.*tx: *\\([0-9]*\\),.*desc: COMMIT.*; subxacts: \\([0-9 ]*\\).*/\\1 \\2/p' |
    awk -v xid="$3" '{ for (i = 2; i <= NF; i++) if ($i == xid) { print $1; exit } }'
"""
)
"""The transaction that committed what stands behind a savepoint in it, or in a block that catches errors. That has a
number of its own, which rows bear as their xmin, and no commit: recovery would not find it, and end in failure."""
WALDUMP = (
    NEWEST
    + """
first=$(find . -maxdepth 1 -type f -name "$newest????????????????" -printf '%f %Ts\\n' | sort | awk -v since="$4" '
    $2 >= since { newer = 1 } NR == 1 || $2 < since && !newer { first = $1 } END { print first }')
last=$(ls | grep -E "^$newest[0-9A-F]{16}$" | sort | tail -n 1)
TZ=UTC "$2/pg_waldump" --rmgr=Transaction --path=. "$first" "$last" 2>/dev/null |
    sed -n 's/.*tx: *\\([0-9]*\\),.*desc: COMMIT[A-Z_]* \\([0-9-]* [0-9:.]*\\) UTC.*/\\1 \\2/p' |
    awk -v since="$3" '{ if ($2 " " $3 < since) older = 1; else if (!found) { found = 1; first = $0 } }
        END { if (older && found) print first; else if (older) print "none"; }'
"""
)
"""The first commit since then in the WAL that lies there; only when older ones lie there, too, is it the first. Commits
stand in the WAL in the order of recovery, which is not quite that of their times: one may be overtaken in between."""


def find(case: Case, postgres: Postgres, given: Options, found: Found, wrong: int | None) -> Target:
    """What a person says, or *wrong*, by which this drill did its damage.

    Raises:
        Refused: nothing was committed since the time that was given; when it was is not known.
    """
    xid = given.target_xid or wrong
    if given.restore_point is not None:
        if case.request.fault_at is None:
            raise Refused(
                f"when restore point {given.restore_point} was made is not known",
                "give --fault-at, a time shortly before it, as well: a backup that is newer cannot lead there",
            )
        return Target(kind="name", value=given.restore_point, at=case.request.fault_at)
    if given.target_lsn is not None:
        _must_be_written(postgres, given.target_lsn, found)
        return Target(kind="lsn", value=_record(postgres, given.target_lsn), at=case.request.fault_at)
    if given.target_time is not None:
        return _first_since(postgres, given.target_time, found)
    if xid is not None:
        if found.answers:
            _must_have_begun(postgres, xid)
        whole = postgres.sh(COMMIT_OF, postgres.data, postgres.server.programs, str(xid), within=READ_WITHIN).strip()
        told, xid = f"{xid} is a part of it, behind a savepoint" if whole else None, int(whole or xid)
        known = committed_at(postgres, xid) if found.answers else None
        at = known or case.clock_of("fault") or case.request.fault_at
        if at is None:
            raise Refused(
                f"when transaction {xid} committed is not known", "give --fault-at, a time shortly before it, as well"
            )
        return Target(kind="xid", value=str(xid), at=at, told=told, committed_at=known)
    return Target()


def _must_be_written(postgres: Postgres, lsn: str, found: Found) -> None:
    """PostgreSQL ends itself when it comes to the end of the WAL before the target; then the database is down."""
    if found.answers and postgres.sql(BEHIND, lsn=lsn) == [["t"]]:
        raise Refused(
            f"target_lsn {lsn} is behind the end of the WAL, {postgres.value('select pg_current_wal_lsn()')}",
            "to keep all there is, leave the target out",
        )


def _record(postgres: Postgres, lsn: str) -> str:
    """Where the first record from there on begins: it is what recovery leaves out, and says that it has left out."""
    return postgres.sh(RECORD, postgres.data, postgres.server.programs, lsn).strip() or lsn


def _must_have_begun(postgres: Postgres, xid: int) -> None:
    newest = int(postgres.value("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint % 4294967296"))
    if 0 < xid - newest < HALF or xid == newest:
        raise Refused(
            f"no transaction {xid} has begun yet, the next one is {newest}", "is it the number of another database?"
        )


def _first_since(postgres: Postgres, since: Instant, found: Found) -> Target:
    """The first transaction that committed since then: stopping before it can be proven to the transaction."""
    said = postgres.sh(WALDUMP, postgres.data, postgres.server.programs, postgres_time(since)[:-3],
                       str(int(since.timestamp())), within=READ_WITHIN)  # fmt: skip
    seen = said.strip().split(maxsplit=1)
    if found.answers and (not seen or seen == ["none"]):  # what is committed may not be in a file yet
        seen = _by_server(postgres, since) or seen
    if seen == ["none"]:
        raise Refused(
            f"target_time {rfc3339(since)} is behind the last commit: nothing was committed since",
            "recovery would end before its target; to keep all there is, leave the target out",
        )
    if not seen:  # neither the server nor its WAL tells: recovery itself will
        return Target(kind="time", value=postgres_time(since), at=since)
    at = datetime.fromisoformat(seen[1]).replace(tzinfo=UTC)
    told = f"the first that committed since {rfc3339(since)}, at {rfc3339(at)}"
    return Target(kind="xid", value=seen[0], at=since, told=told, committed_at=at)


def _by_server(postgres: Postgres, since: Instant) -> list[str] | None:
    """None: the server keeps no times of commits."""
    if postgres.value(KNOWN) == "0":
        return None
    rows = postgres.sql(FIRST_SINCE, within=READ_WITHIN, window=WINDOW, since=postgres_time(since))
    return rows[0] if rows else ["none"]


def committed_at(postgres: Postgres, xid: int) -> Instant | None:
    try:
        said = postgres.value(COMMITTED.format(xid=xid))
    except RecoveryError:  # track_commit_timestamp is off
        return None
    return datetime.fromisoformat(said).replace(tzinfo=UTC) if said else None
