"""Which transactions have changed a table since some moment, by the WAL that the server still has. Reads only."""

from __future__ import annotations

from runbooks.database_ways import Target, postgres_time
from runbooks.errors import Refused
from runbooks.model import Instant, Model, rfc3339
from tasks import database_targets
from tasks.database_server import READ_WITHIN, Postgres

MOST = 10
RELATION = """select format('%s/%s/%s', coalesce(nullif(c.reltablespace, 0), d.dattablespace), d.oid,
    pg_relation_filenode(c.oid)), pg_walfile_name(pg_current_wal_lsn())
    from pg_class c, pg_database d where c.oid = to_regclass(:'table') and d.datname = current_database()"""
CHANGES = """
cd "$1/pg_wal"
since=$3 last=$4 relation=$5
on=$(echo "$last" | cut -c 1-8)
first=$(find . -maxdepth 1 -type f -name "$on????????????????" -newermt "$since" -printf '%f\\n' | sort \\
    | awk -v last="$last" '$0 <= last' | head -n 1)
[ -n "$first" ] || exit 0
oldest=$(find . -maxdepth 1 -type f -name '????????????????????????' -printf '%f\\n' | sort | head -n 1)
if [ "$first" = "$oldest" ]; then
    TZ=UTC "$2/pg_waldump" --rmgr=Transaction --path=. "$first" "$first" 2>/dev/null |
        sed -n 's/.*desc: COMMIT[A-Z_]* \\([0-9-]* [0-9:.]*\\) UTC.*/\\1/p' | head -n 1 |
        awk -v since="$6" '$0 < since { older = 1 } END { if (!older) print "incomplete" }'
fi
"$2/pg_waldump" --path=. "$first" "$last" 2>/dev/null | grep -E '^rmgr: Heap' | grep -F "rel $relation " |
    grep -E 'desc: (INSERT|DELETE|UPDATE|HOT_UPDATE|MULTI_INSERT|TRUNCATE)' |
    sed -n 's/.*tx: *\\([0-9]*\\),.*/\\1/p' | sort | uniq -c | sort -rn
"""


class Culprit(Model):
    xid: int
    changes: int
    committed_at: Instant | None


def find(postgres: Postgres, table: str, since: Instant) -> Target:
    """The one transaction that has changed *table* since then.

    Raises:
        Refused: there is none, or several, which are named: a person says which one was wrong.
    """
    found, is_complete = since_then(postgres, table, since)
    told = ", ".join(
        f"{one.xid} ({one.changes} changes, at {rfc3339(one.committed_at) if one.committed_at else 'unknown'})"
        for one in found[:MOST]
    )
    if len(found) != 1 or not is_complete:
        raise Refused(
            f"{len(found) or 'no'} transactions have changed {table} since {rfc3339(since)}{': ' if told else ''}{told}"
            + ("" if is_complete else "; the WAL from before is not in pg_wal any more"),
            "say which one was wrong: --with target_xid=…",
        )
    [one] = found
    return Target(
        kind="xid", value=str(one.xid), at=one.committed_at or since, committed_at=one.committed_at,
        told=f"the only one that has changed {table} since {rfc3339(since)}: {told}",
    )  # fmt: skip


def since_then(postgres: Postgres, table: str, since: Instant) -> tuple[list[Culprit], bool]:
    """Those that have committed since, most changes first; and whether all of the WAL from then on is there."""
    rows = postgres.sql(RELATION, database=postgres.database.database, table=table)
    if not rows:
        raise Refused(f"there is no table {table}", "was it dropped? then way=point-in-time brings it back")
    [[relation, last]] = rows
    lines = postgres.sh(
        CHANGES,
        postgres.data,
        postgres.server.programs,
        since.isoformat(),
        last,
        relation,
        postgres_time(since)[:-3],
        within=READ_WITHIN,
    ).splitlines()
    is_complete = "incomplete" not in lines
    found = [line.split() for line in lines if line != "incomplete"]
    culprits = [
        Culprit(xid=int(xid), changes=int(count), committed_at=database_targets.committed_at(postgres, int(xid)))
        for count, xid in found
    ]
    return [one for one in culprits if one.committed_at is None or one.committed_at >= since], is_complete
