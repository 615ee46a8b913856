"""What must hold before a database is broken, or brought back. Judged once."""

from __future__ import annotations

from runbooks.database_ways import WAYS, Way
from runbooks.errors import Refused
from runbooks.model import now, rfc3339
from runbooks.records import RunKind
from tasks import (
    database_backups,
    database_candidates,
    database_rows,
    database_server,
    database_state,
    open_incidents,
    pgbackrest,
    preconditions,
)
from tasks.cases import Case
from tasks.database_plan import options
from tasks.steps import step


@step
def check(case: Case) -> None:
    """The server is the pinned one, and a drill may begin: the repository holds backups of it.

    Raises:
        Refused: something does not hold; nothing was changed.
    """
    _parameters_fit(case)
    if case.is_drill:
        preconditions.must_be_allowed(case)
    elif not case.attempt.dry_run:
        open_incidents.declare(case)
    with database_server.primary(case) as postgres:
        database_state.must_be_pinned(postgres)
        if case.is_drill:  # an incident may end with a promotion, without any backup: its plan tells
            database_backups.choose(database_backups.read(postgres), before=None, named=case.request.backup)
        case.note("tools", postgresql=_version(postgres, "postgres"), pgbackrest=postgres.pgbackrest("version").text)
        if case.is_drill:
            _must_be_in_good_order(postgres)
            _must_have_its_way(case, postgres)
    if case.is_drill:
        preconditions.must_be_green(case)


def _must_be_in_good_order(postgres: database_server.Postgres) -> None:
    """It answers, and its WAL comes into the archive: what does not is lost by the drill.

    Raises:
        Refused: it does not answer; pgBackRest was told to stop.
        Unavailable, NotRecovered: archiving does not work.
    """
    if not postgres.answers():
        raise Refused("PostgreSQL does not answer", "a drill begins in good order; is this an incident?")
    pgbackrest.run(postgres, "check")


def _must_have_its_way(case: Case, postgres: database_server.Postgres) -> None:
    """What the way needs is there before anything is broken.

    Raises:
        Refused: the table's rows cannot be told apart; no standby may be promoted.
    """
    given = options(case)
    if given.way is Way.TABLE:
        database_rows.must_be_mergeable(postgres, str(given.table))
    if given.way is Way.PROMOTE and case.kind is RunKind.DRILL:
        found = database_candidates.look(case, postgres, answers=True, corrupt=())
        if all(one.problem for one in found):
            told = "; ".join(one.told for one in found) or "there is no standby"
            raise Refused(f"no standby can be promoted: {told}", "mend that first, or choose another way")


def _parameters_fit(case: Case) -> None:
    given = options(case)
    if case.is_drill and given.way is not None and given.way not in WAYS[given.damage]:
        raise Refused(
            f"way={given.way} does not lead back from damage={given.damage}; nothing was broken",
            f"ways that do: {', '.join(WAYS[given.damage])}; damages that way={given.way} mends: "
            + ", ".join(damage for damage, ways in WAYS.items() if given.way in ways),
        )
    if case.is_drill and case.request.fault_at is not None:
        raise Refused("--fault-at is for incidents: a drill breaks by itself what it may break", "leave it out")
    if given.target_time is not None and given.target_time > now():
        raise Refused(
            f"target_time {rfc3339(given.target_time)} is in the future", f"it is {rfc3339(now())}; is the zone right?"
        )


def _version(postgres: database_server.Postgres, program: str) -> str:
    return postgres.run([postgres.program(program), "--version"]).text.strip()
