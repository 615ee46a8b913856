"""Promotes a healthy standby, once the old primary is proven dead and all its WAL is there; leads clients there.

What a wrong statement did, and a page that was damaged by WAL, is on the standby, too: the plan says whether it fits.
"""

from __future__ import annotations

from datetime import timedelta

from runbooks.database_ways import Way
from runbooks.errors import NotRecovered, RecoveryError, Refused
from runbooks.hosts import Server
from runbooks.model import Model
from runbooks.records import Severity
from runbooks.site import Database
from tasks import database_fence, database_plan, database_server
from tasks.cases import Case
from tasks.clients import dns, route53
from tasks.database_server import Postgres
from tasks.steps import step
from tasks.waits import NotYet, wait_until

REPLAYED_WITHIN = timedelta(seconds=30)
PROMOTED_WITHIN = timedelta(minutes=1)
LED_WITHIN = timedelta(minutes=2)
REPLAYED = "select pg_last_wal_replay_lsn()"
HAS = "select coalesce(pg_last_wal_replay_lsn() > :'lsn'::pg_lsn, false)"
LAST_RECORD = """
cd "$1/pg_wal" 2>/dev/null || exit 0
first=$("$2/pg_controldata" "$1" 2>/dev/null | sed -n "s/^Latest checkpoint's REDO WAL file: *//p")
[ -n "$first" ] && [ -f "$first" ] || exit 0
last=$(ls | grep -E "^$(echo "$first" | cut -c 1-8)[0-9A-F]{16}$" | sort | tail -n 1)
"$2/pg_waldump" --path=. "$first" "$last" 2>/dev/null | tail -n 1 | sed -n 's/.*lsn: \\([0-9A-F/]*\\),.*/\\1/p'
"""
"""Where the last whole record of a stopped server's WAL begins; nothing: its WAL is gone."""


class Promoted(Model):
    """`host`: the new primary; `replayed`: how far it had come."""

    host: str
    replayed: str


@step
def promote(case: Case) -> Promoted | None:
    """The chosen standby is a primary; clients are kept out of it.

    Changes: pg_hba.conf of the standby; promotes it. Another way than promote: nothing.

    Raises:
        NotRecovered: it does not become a primary.
    """
    plan = database_plan.of(case)
    if plan.way is not Way.PROMOTE:
        return None
    server = chosen(case, plan.standby)
    with database_server.standby(case, server) as standby:
        hba = standby.value("show hba_file")
        if not database_fence.is_closed(standby, hba):
            database_fence.write(case, standby, hba)
        database_fence.enforce(standby)
        if standby.value("select pg_is_in_recovery()") == "t":
            replayed = standby.value(REPLAYED)
            case.write(f"promote {server.host}", host=server.host, data=server.data)
            standby.value("select pg_promote(true, 60)")
        else:
            replayed = standby.value(REPLAYED)  # by a killed attempt
        wait_until(
            lambda: True if standby.value("select pg_is_in_recovery()") == "f" else NotYet("in recovery"),
            within=PROMOTED_WITHIN, what=f"promotion of {server.host}", otherwise=NotRecovered, hint="see its log",
        )  # fmt: skip
    case.event(f"{standby.data} on {server.host} is promoted; it had replayed up to {replayed}")
    return Promoted(host=server.host, replayed=replayed)


def chosen(case: Case, host: str | None) -> Server:
    """Raises: Refused: the site has no standby there."""
    for server in database_server.database_of(case).standbys:
        if server.host == host:
            return server
    raise Refused(f"{host} is no standby of this database", "see [[databases.standbys]] in the site file")


def must_have_all(case: Case, old: Postgres, host: str | None) -> None:
    """The standby has replayed every record that is in the WAL of the old primary, which is stopped.

    Raises:
        NotRecovered: it has not; nothing was promoted, nor moved.
    """
    last = old.sh(LAST_RECORD, old.data, old.server.programs).strip()
    if not last:
        case.event(f"the WAL of {old.server.host} is gone: nobody can compare what {host} has with it")
        return
    with database_server.standby(case, chosen(case, host)) as standby:
        wait_until(
            lambda: True if standby.sql(HAS, lsn=last) == [["t"]] else NotYet(f"at {standby.value(REPLAYED)}"),
            within=REPLAYED_WITHIN, what=f"record {last} of the old primary replayed by {host}",
            otherwise=NotRecovered, hint="it was not promoted, since that would lose it: start again with way=full",
        )  # fmt: skip
    case.event(f"{host} has replayed the last record of {old.server.host}, at {last}: nothing is lost")


@step
def lead(case: Case) -> None:
    """Clients that ask for the database find the new primary. Another way than promote: nothing.

    Changes: the database's A record, or what the site's own command does.

    Raises:
        NotRecovered: the name does not lead there in time.
    """
    if database_plan.of(case).way is not Way.PROMOTE:
        return
    database = database_server.database_of(case)
    server = database.server
    assert server is not None
    named = case.site.database(database.name).server
    if named is not None and named.host != server.host:
        case.finding(
            "primary in the site file", database.name, Severity.YELLOW,
            f"{server.host} is the primary of {database.name} now, the site file names {named.host}",
            "swap databases.server and databases.standbys there; until then each run looks which one leads",
        )  # fmt: skip
    if server.lead is not None:
        case.write(f"lead clients to {server.host}: {server.lead[0]}", host=server.host)
        with database_server.primary(case) as postgres:
            done = postgres.service(server.lead, within=LED_WITHIN)
        if done.exit_code != 0:
            raise NotRecovered(f"{server.lead[0]} on {server.host} {done.how}: {done.said}", "lead the clients by hand")
        return
    _move(case, database, str(server.address))


def _move(case: Case, database: Database, address: str) -> None:
    zone = route53.connect(case.site.dns)
    if zone.addresses(database.host) != (address,):
        case.write(f"point {database.host} to {address}", name=database.host, address=address)
        zone.point(database.host, address)

    def look() -> bool | NotYet:
        try:
            seen = dns.resolve(database.host, case.site.dns)
        except RecoveryError as error:
            return NotYet(error.problem)
        return True if seen == (address,) else NotYet(f"it is {', '.join(seen)}")

    wait_until(
        look, within=LED_WITHIN, what=f"{database.host} is {address}", otherwise=NotRecovered,
        hint="Route53 has it: are the name servers of the zone those that are asked?",
    )  # fmt: skip
