"""Stops a database, sets its directory aside, restores it, recovers it to the target, and proves where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from runbooks.database_ways import Way
from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from runbooks.model import Instant, Model
from tasks import (
    database_backups,
    database_fence,
    database_plan,
    database_promotion,
    database_salvage,
    database_server,
    database_state,
    database_symptoms,
    database_tables,
    database_wal,
)
from tasks.cases import Case
from tasks.database_files import arguments_of, end_left, follow
from tasks.database_plan import Plan
from tasks.database_progress import Replay
from tasks.database_server import Postgres
from tasks.database_stop_point import must_have_come_from, must_have_stopped_there
from tasks.database_tables import Returned
from tasks.steps import step
from tasks.waits import NotYet, wait_until

STOPS_WITHIN = timedelta(seconds=60)
SPARE = 1.1
SET_ASIDE = """
[ -e "$2" ] && exit 0
[ -e "$1" ] || exit 0
mv -T "$1" "$2"
"""
ROOM = 'df --output=avail --block-size=1 "$(dirname "$1")" | tail -n 1'
CHANGED = """
cd "$1"; since=$2 aside=$3; shift 3
exec 9<"$aside"; flock 9
[ ! -e "$aside/.complete" ] || exit 0
{ find . -type f ! -path "./pg_wal/*" -newermt "$since" -print0
  for file in "$@"; do find . -type f -path "./$file*" -print0; done; } | sort -zu >"$aside/.changed"
bytes=$(xargs -0 -r stat --format=%s <"$aside/.changed" | awk '{ sum += $1 } END { print sum + 0 }')
free=$(df --output=avail --block-size=1 "$aside" | tail -n 1)
[ "$free" -gt "$bytes" ] || { echo "what changes is $bytes bytes, $free are free there" >&2; exit 1; }
xargs -0 -r cp -p --parents -t "$aside" <"$aside/.changed"
: >"$aside/.complete"
"""
"""What a delta restore is going to change: the files that are newer than the backup, and those that are damaged.

The same of a killed attempt may still be at work there: it is waited for, or it would copy what is restored already."""
LAST_WORDS = "tail -n 100 \"$1\" 2>/dev/null | grep -E '(FATAL|PANIC|DETAIL):' | tail -n 2 || true"
IN_RECOVERY = """select pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn()::text, ''),
    case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() end"""
FINISHED = """select timeline_id, pg_current_wal_lsn(),
    coalesce((pg_last_xact_replay_timestamp() at time zone 'UTC')::text, '') from pg_control_checkpoint()"""


class Aside(Model):
    """Where the old directory lies; null: there was nothing, or it was not needed."""

    directory: str | None
    wal: str | None


class Restored(Model):
    """`returned`: of one table, what was done to its rows."""

    seconds: float
    bytes: int
    returned: Returned | None = None


class Recovered(Model):
    """`reason`: why recovery stopped, in PostgreSQL's own words, from the history of the new timeline."""

    timeline: int
    forked_at: str
    reason: str
    last_commit_at: Instant | None


@step
def stop(case: Case) -> None:
    """Nobody works in the data directory any more: neither postmaster nor backends.

    Raises:
        NotRecovered: something still works there after an immediate stop and a kill.
    """
    if database_plan.of(case).way is Way.TABLE:
        return
    with database_server.primary(case) as postgres:
        ensure_stopped(case, postgres)


def ensure_stopped(case: Case, postgres: Postgres) -> None:
    """Fast first, so that all its WAL is archived; then immediate; then by force, the processes of this directory."""
    tries: tuple[tuple[str, Callable[[], object]], ...] = (
        ("stop", lambda: postgres.service(postgres.server.stop, within=STOPS_WITHIN)),
        ("stop at once", lambda: postgres.run([postgres.program("pg_ctl"), f"--pgdata={postgres.data}",
                                              "--mode=immediate", "--wait", "stop"])),
        ("kill", lambda: postgres.sh('[ -z "$*" ] || kill -KILL "$@"', *postgres.processes())),
    )  # fmt: skip
    for how, act in tries:
        if not postgres.processes():
            return
        case.write(f"{how} PostgreSQL on {postgres.server.host}", host=postgres.server.host, data=postgres.data)
        try:
            act()
        except RecoveryError as error:
            case.event(f"{how}: {error.problem}")
        if _is_dead(postgres):
            return
    raise NotRecovered(
        f"processes {', '.join(postgres.processes())} still work in {postgres.data} on {postgres.server.host}",
        "a process in state D waits for its disk; nothing was restored over a living server",
    )


def _must_be_at_rest(postgres: Postgres) -> None:
    """Nobody started a server there since it was stopped, and the files are of this database, or of none.

    pgBackRest itself looks at postmaster.pid alone, and only without `--delta`.

    Raises:
        NotRecovered: a server works there. Refused: they are another database's.
    """
    if found := postgres.processes():
        raise NotRecovered(
            f"somebody has started PostgreSQL in {postgres.data} on {postgres.server.host} again: {', '.join(found)}",
            "what starts it, a service manager or a person? Stop that, then go on with this run; nothing was moved",
        )
    database_state.must_be_pinned(postgres)


def _is_dead(postgres: Postgres) -> bool:
    end = time.monotonic() + 10
    while postgres.processes():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def aside(case: Case, postgres: Postgres) -> str:
    return f"{postgres.data}.{case.name('aside')}"


@step
def set_aside(case: Case) -> Aside:
    """The old directory lies beside, whole; for a delta restore what that will change is copied there. Its WAL is kept.

    Raises:
        Refused: there is no room for a second copy; nothing was moved.
    """
    plan = database_plan.of(case)
    if plan.way is Way.TABLE:
        return Aside(directory=None, wal=None)
    with database_server.primary(case) as postgres:
        _must_be_at_rest(postgres)
        where = aside(case, postgres)
        if plan.way is Way.PROMOTE:  # so that nothing starts it again beside the new primary
            database_promotion.must_have_all(case, postgres, plan.standby)
            case.write(f"set {postgres.data} aside as {where}", host=postgres.server.host, directory=where)
            postgres.sh(SET_ASIDE, postgres.data, where)
            return Aside(directory=where, wal=f"{where}/pg_wal")
        if plan.way is Way.DELTA:
            case.write(f"copy what changes to {where}", host=postgres.server.host, directory=where)
            database_salvage.keep(postgres, f"{postgres.data}/pg_wal", f"{where}/pg_wal")
            since, damaged = plan.backup.started_at.isoformat(), database_symptoms.of(case).damaged
            postgres.sh(CHANGED, postgres.data, since, where, *damaged, within=timedelta(hours=1))
            return Aside(directory=where, wal=f"{where}/pg_wal")
        _must_have_room(postgres, plan)
        case.write(f"set {postgres.data} aside as {where}", host=postgres.server.host, directory=where)
        postgres.sh(SET_ASIDE, postgres.data, where)
        postgres.sh('mkdir -p "$1"', where)
        return Aside(directory=where, wal=database_salvage.best(case, postgres, f"{where}/pg_wal"))


def _must_have_room(postgres: Postgres, plan: Plan) -> None:
    free = int(postgres.sh(ROOM, postgres.data))
    needed = int(plan.backup.size_bytes * SPARE)
    if free < needed:
        raise Refused(
            f"the disk of {postgres.data} on {postgres.server.host} has {free} bytes free; a copy needs {needed}",
            "make room, or choose way=delta; the old directory is not deleted to make room",
        )


@step
def restore(case: Case) -> Restored:
    """The files of the chosen set are in place, with the settings to recover to the target; nothing has been replayed.

    Raises:
        NotRecovered: pgBackRest failed; the old directory lies beside.
    """
    plan = database_plan.of(case)
    if plan.way is Way.PROMOTE:
        return Restored(seconds=0, bytes=0)
    with database_server.primary(case) as postgres:
        if plan.way is Way.TABLE:
            returned = database_tables.bring_back(case, postgres, plan)
            return Restored(seconds=returned.seconds, bytes=plan.backup.size_bytes, returned=returned)
        _must_be_at_rest(postgres)
        began = time.monotonic()
        end_left(case, postgres)
        if plan.way is not Way.DELTA:
            _clear_half(case, postgres)
        arguments = arguments_of(plan)
        case.write(f"restore {plan.backup.label}: {' '.join(arguments)}", host=postgres.server.host, data=postgres.data)
        follow(case, postgres, arguments, plan.backup.size_bytes)
        wal = Aside.model_validate((case.recorded("database_restore.set_aside") or {})["evidence"]).wal
        if plan.salvages and wal is not None:
            database_salvage.put_in(case, postgres, wal)
        database_fence.write(case, postgres, database_fence.file_of(case, postgres))
        seconds = round(time.monotonic() - began, 1)
    case.event(f"restored {plan.backup.size_bytes} bytes in {seconds} s")
    return Restored(seconds=seconds, bytes=plan.backup.size_bytes)


def _clear_half(case: Case, postgres: Postgres) -> None:
    """A killed attempt may have left half a restore. The original is aside, which proves that this is ours."""
    postgres.sh('[ -d "$2" ] && rm -rf "$1" && mkdir -m 700 "$1"', postgres.data, aside(case, postgres))


@step
def recover(case: Case) -> Recovered:
    """The server has replayed the WAL, stopped where the plan says, and is a primary on a timeline of its own.

    Raises:
        NotRecovered: it died, did not come to its end in time, or stopped somewhere else.
    """
    plan = database_plan.of(case)
    with database_server.primary(case) as postgres:
        if plan.way is Way.TABLE:
            case.clock("restored")
            return Recovered(timeline=plan.timeline or 0, forked_at="", reason="the server was never stopped",
                             last_commit_at=None)  # fmt: skip
        if not postgres.answers():
            case.write(f"start PostgreSQL on {postgres.server.host}", host=postgres.server.host)
            started = postgres.service(postgres.server.start, within=case.within("restore"))
            if started.exit_code != 0 and not postgres.processes():
                raise _died(postgres, started.said)
        timeline, lsn, commit = _finished(case, postgres, _replay(case, postgres, plan))
        fork = must_have_come_from(plan, postgres, int(timeline))
        must_have_stopped_there(plan, fork.reason)
        if plan.target.kind is None and plan.way is not Way.PROMOTE:
            database_wal.must_be_read_to_its_end(postgres, fork.timeline, fork.position)
        _forget_target(postgres)
        found = Recovered(
            timeline=int(timeline), forked_at=lsn, reason=fork.reason,
            last_commit_at=datetime.fromisoformat(commit).replace(tzinfo=UTC) if commit else None,
        )  # fmt: skip
    case.event(f"recovered to timeline {found.timeline}: {found.reason}; last commit {commit or 'unknown'} UTC")
    case.clock("restored")
    return found


def _died(postgres: Postgres, said: str) -> NotRecovered:
    if postgres.server.log is not None:
        last = postgres.sh(LAST_WORDS, postgres.server.log).strip()
        said = f"{said}; {last[-400:]}" if last else said
    return NotRecovered(
        f"PostgreSQL on {postgres.server.host} ended in recovery: {said}",
        'its log says why; "recovery ended before configured recovery target was reached": the WAL ends before it',
    )


def _replay(case: Case, postgres: Postgres, plan: Plan) -> Replay:
    """From where the backup begins to the newest WAL that is archived, or was salvaged."""
    newest = database_backups.read(postgres).newest_wal or plan.backup.wal_stop
    return Replay(case, postgres, plan.backup.wal_start, newest)


def _finished(case: Case, postgres: Postgres, replay: Replay) -> list[str]:
    """What it says once it is a primary; `pg_ctl start` returns long before, at consistency."""

    def look() -> list[str] | NotYet:
        at = replay.look()
        if not postgres.processes():
            raise _died(postgres, "the postmaster is gone")
        try:
            [[recovering, lsn, paused]] = postgres.sql(IN_RECOVERY)
        except Unavailable as error:
            return NotYet(f"{error.problem}, replaying {at}")
        if paused == "paused":
            raise NotRecovered(
                f"recovery on {postgres.server.host} waits at {lsn} instead of ending",
                "see recovery_target_action there; pg_wal_replay_resume() ends it, once you know that it is the place",
            )
        if recovering == "t":
            return NotYet(f"in recovery, replayed up to {lsn}")
        postgres.value("checkpoint; select 1")  # so that pg_control names the new timeline
        return postgres.sql(FINISHED)[0]

    return wait_until(
        look, within=case.within("restore"), what=f"end of recovery on {postgres.server.host}",
        otherwise=NotRecovered, hint="see its log; does restore_command find the WAL?",
    )  # fmt: skip


def _forget_target(postgres: Postgres) -> None:
    """What is left behind would decide the next recovery, too."""
    left = postgres.sql("select name from pg_file_settings where name like 'recovery_target%' "
                        "or name = 'restore_command' group by name")  # fmt: skip
    for [name] in left:
        postgres.value(f"alter system reset {name}; select 1")
    postgres.value("select pg_reload_conf()")
