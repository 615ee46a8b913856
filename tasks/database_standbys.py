"""The standbys follow the recovered primary: those that can do so by themselves, the others made anew."""

from __future__ import annotations

from datetime import timedelta

from runbooks.database_ways import Way
from runbooks.errors import NotRecovered, RecoveryError
from runbooks.hosts import Server
from runbooks.records import Check, CheckStatus, Severity
from tasks import database_plan, database_restore, database_server, database_state
from tasks.cases import Case
from tasks.database_server import Postgres
from tasks.steps import step
from tasks.waits import NotYet, wait_until

FOLLOWS_WITHIN = timedelta(seconds=20)
MADE_WITHIN = timedelta(hours=1)
SETTING = "select setting from pg_settings where name = 'primary_{what}'"
SETTINGS = """sed -n "s/^primary_$2 *= *'\\(.*\\)'$/\\1/p" "$1/postgresql.auto.conf" | tail -n 1"""
SLOT = """select pg_create_physical_replication_slot(:'slot', true)
    where not exists (select 1 from pg_replication_slots where slot_name = :'slot')"""
ANEW = """
set -e
export PGAPPNAME=dr-runbooks
[ -e "$3" ] || [ ! -e "$1" ] || mv -T "$1" "$3"
mkdir -p "$3"
exec 9<"$3"; flock 9
rm -rf "$1"
"$2" --dbname="$4" --pgdata="$1" --wal-method=stream --checkpoint=fast ${5:+--slot="$5"}
if [ -z "$6" ] && [ -e "$3/postgresql.auto.conf" ]; then
    cp -p "$3/postgresql.auto.conf" "$1/postgresql.auto.conf"
else
    sed -i '/^primary_/d' "$1/postgresql.auto.conf"
    printf "primary_conninfo = '%s'\\n" "$4" >>"$1/postgresql.auto.conf"
    [ -z "$5" ] || printf "primary_slot_name = '%s'\\n" "$5" >>"$1/postgresql.auto.conf"
fi
: >"$1/standby.signal"
"""
"""Its settings are those that it had; of a former primary, those that lead it to the new one. One at a time: the copy
of a killed attempt may still come in."""


@step
def attach(case: Case) -> None:
    """Every standby streams from the recovered primary.

    Changes: slots on the primary; a standby that is ahead of the primary is set aside and copied anew.

    Raises:
        NotRecovered: one does not follow.
    """
    plan, left = database_plan.of(case), 0
    for server in database_server.database_of(case).standbys if plan.way is not Way.TABLE else ():
        with database_server.primary(case) as primary:
            if plan.way is Way.PROMOTE and (server.follows is None or primary.server.address is None):
                left += 1
                _leave(case, primary, server)
                continue
            try:
                with database_server.standby(case, server) as standby:
                    _attach(case, primary, standby)
            except RecoveryError as error:
                case.event(f"standby {server.host}: {error.problem}")  # the check below is red, and says so
    case.checks([check(case, without=left)])
    case.must_be_green()


def _leave(case: Case, primary: Postgres, server: Server) -> None:
    """Nobody says how it follows the new primary: that is for a person to do."""
    case.finding(
        f"standby {server.host}", case.application.name, Severity.RED,
        f"{server.host} does not follow {primary.server.host}: the site file does not say how",
        "make it anew by pg_basebackup; and add follows and address to the servers in the site file",
    )  # fmt: skip


def _attach(case: Case, primary: Postgres, standby: Postgres) -> None:
    slot = standby.sh(SETTINGS, standby.data, "slot_name").strip()
    plan = database_plan.of(case)
    if plan.way is Way.PROMOTE:
        slot = f"dr_{standby.server.host}".replace("-", "_").replace(".", "_")
    if slot:
        primary.sql(SLOT, slot=slot)  # backups hold no slots
    if plan.way is not Way.PROMOTE and plan.target.kind is None and _follows(primary, standby):
        case.event(f"standby {standby.server.host} follows by itself")
        return
    if plan.way is not Way.PROMOTE or not _streams(primary, standby):
        _make_anew(case, primary, standby, slot)
    wait_until(
        lambda: True if _streams(primary, standby) else NotYet("not streaming"), within=FOLLOWS_WITHIN * 3,
        what=f"standby {standby.server.host} following", otherwise=NotRecovered, hint="see its log",
    )  # fmt: skip


def _follows(primary: Postgres, standby: Postgres) -> bool:
    try:
        return wait_until(
            lambda: True if _streams(primary, standby) else NotYet("not streaming"), within=FOLLOWS_WITHIN,
            what="standby", otherwise=NotRecovered, hint="it is made anew",
        )  # fmt: skip
    except RecoveryError:
        return False


def _streams(primary: Postgres, standby: Postgres) -> bool:
    """Both say so, and on the same timeline."""
    try:
        received = standby.sql("select received_tli from pg_stat_wal_receiver where status = 'streaming'")
    except RecoveryError:
        return False
    timeline = primary.value("select timeline_id from pg_control_checkpoint()")
    return received == [[timeline]] and bool(database_state.streaming(primary))


def _make_anew(case: Case, primary: Postgres, standby: Postgres, slot: str) -> None:
    """It has WAL that the primary never had, or does not come along: a fresh copy over the connection that it uses."""
    connection = standby.sh(SETTINGS, standby.data, "conninfo").strip().replace("''", "'")
    leads = database_plan.of(case).way is Way.PROMOTE
    if leads:
        connection = f"host={primary.server.address} port={primary.server.port} {standby.server.follows}"
    database_restore.ensure_stopped(case, standby)
    where = database_restore.aside(case, standby)
    case.write(f"make standby {standby.server.host} anew; the old one lies in {where}", host=standby.server.host)
    standby.sh(
        ANEW,
        standby.data,
        standby.program("pg_basebackup"),
        where,
        connection,
        slot,
        "new" if leads else "",
        within=MADE_WITHIN,
    )
    standby.service(standby.server.start, within=case.within("restore"))


def check(case: Case, *, without: int = 0) -> Check:
    """As many standbys stream as the site file names, but for those that were left to a person."""
    wanted = len(database_server.database_of(case).standbys) - without
    with database_server.primary(case) as primary:
        seen = database_state.streaming(primary)
    return Check(
        name="standbys",
        expected=f"{wanted} streaming",
        observed=f"{len(seen)} streaming: {', '.join(seen) or 'none'}",
        status=CheckStatus.PASSED if len(seen) >= wanted else CheckStatus.FAILED,
    )
