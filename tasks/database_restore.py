"""Stops a database, sets its directory aside, restores it, recovers it to the target, and proves where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from runbooks.database_ways import Way
from runbooks.errors import NotRecovered, RecoveryError, Refused
from runbooks.model import Instant, Model
from tasks import (
    database_backups,
    database_changed,
    database_fence,
    database_plan,
    database_promotion,
    database_recovery,
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
from tasks.database_server import Postgres
from tasks.database_stop_point import must_have_come_from, must_have_stopped_there
from tasks.database_tables import Returned
from tasks.steps import step

STOPS_WITHIN = timedelta(seconds=60)
SPARE = 1.1
SET_ASIDE = '[ -e "$2" ] || [ ! -e "$1" ] || mv -T "$1" "$2"'
UNLOCK = '[ "$(sed -n 2p "$1" 2>/dev/null)" != "$2" ] || rm -f "$1"'
"""PostgreSQL takes a killed predecessor for alive until its parent has taken note, and a stranger with its pid, too."""
ROOM = 'df --output=avail --block-size=1 "$(dirname "$1")" | tail -n 1'


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
    """The old directory lies beside, whole; of a delta restore what that will change, and the WAL.

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
            case.write(f"move what changes to {where}", host=postgres.server.host, directory=where)
            database_changed.set_aside(postgres, plan.source, where, database_symptoms.of(case).damaged)
            database_salvage.keep(postgres, f"{postgres.data}/pg_wal", f"{where}/pg_wal")
            return Aside(directory=where, wal=f"{where}/pg_wal")
        _must_have_room(postgres, plan)
        case.write(f"set {postgres.data} aside as {where}", host=postgres.server.host, directory=where)
        postgres.sh(f'{SET_ASIDE}; mkdir -p "$2"', postgres.data, where)
        return Aside(directory=where, wal=database_salvage.best(case, postgres, f"{where}/pg_wal"))


def _must_have_room(postgres: Postgres, plan: Plan) -> None:
    free = int(postgres.sh(ROOM, postgres.data))
    needed = int(plan.source.size_bytes * SPARE)
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
            return Restored(seconds=returned.seconds, bytes=plan.source.size_bytes, returned=returned)
        _must_be_at_rest(postgres)
        began = time.monotonic()
        end_left(case, postgres)
        if plan.way is not Way.DELTA:
            _clear_half(case, postgres)
        arguments = arguments_of(plan)
        case.write(f"restore {plan.source.label}: {' '.join(arguments)}", host=postgres.server.host, data=postgres.data)
        wal = Aside.model_validate((case.recorded("database_restore.set_aside") or {})["evidence"]).wal
        with ThreadPoolExecutor(1) as beside:  # the server is down: what is archived stays as it is
            salvage = beside.submit(_salvage, postgres, plan, wal)
            follow(case, postgres, arguments, plan.source.size_bytes)
        missing = salvage.result()
        if wal is not None:
            database_salvage.put_in(case, postgres, wal, missing)
        database_fence.write(case, postgres, database_fence.file_of(case, postgres))
        seconds = round(time.monotonic() - began, 1)
    case.event(f"restored {plan.source.size_bytes} bytes in {seconds} s")
    return Restored(seconds=seconds, bytes=plan.source.size_bytes)


def _salvage(postgres: Postgres, plan: Plan, folder: str | None) -> list[str]:
    """The segments that lie there and not in the archive, copied: together they lead to the timeline of the plan.

    Raises:
        NotRecovered: they do not; what a standby had is not there any more.
    """
    found = [] if folder is None else database_salvage.unarchived(postgres, folder)
    held, repository = [*found, *database_salvage.in_archives(postgres)], database_backups.read(postgres)
    position = plan.target.value if plan.target.kind == "lsn" else None
    assert plan.past is not None
    try:
        database_wal.must_have_no_gap(
            postgres, repository, plan.source, plan.past, held=held, before=position, size=plan.segment_bytes
        )
    except Refused as error:
        raise NotRecovered(error.problem, error.hint) from error
    if folder is not None:
        database_salvage.copy(postgres, folder, found)
    return found


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
            if not postgres.processes():
                lock = f"{postgres.server.socket}/.s.PGSQL.{postgres.server.port}.lock"
                postgres.sh(UNLOCK, lock, postgres.data)
            case.write(f"start PostgreSQL on {postgres.server.host}", host=postgres.server.host)
            started = postgres.service(postgres.server.start, within=case.within("restore"))
            if started.exit_code != 0 and not postgres.processes():
                raise database_recovery.died(postgres, started.said)
        timeline, lsn, commit = database_recovery.finish(case, postgres, plan)
        fork = must_have_come_from(plan, postgres, int(timeline))
        must_have_stopped_there(plan, fork.reason)
        if plan.target.kind is None and plan.way is not Way.PROMOTE:
            database_wal.must_be_read_to_its_end(postgres, fork.timeline, fork.position)
        database_recovery.forget_target(postgres)
        found = Recovered(
            timeline=int(timeline), forked_at=lsn, reason=fork.reason,
            last_commit_at=datetime.fromisoformat(commit).replace(tzinfo=UTC) if commit else None,
        )  # fmt: skip
    case.event(f"recovered to timeline {found.timeline}: {found.reason}; last commit {commit or 'unknown'} UTC")
    case.clock("restored")
    return found
