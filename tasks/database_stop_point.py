"""Where recovery stopped, and on which timeline: PostgreSQL writes both into the history of the new one."""

from __future__ import annotations

import re
from datetime import datetime

from runbooks import wal
from runbooks.errors import NotRecovered
from runbooks.records import Check, CheckStatus
from tasks import database_timelines
from tasks.database_plan import Plan
from tasks.database_server import Postgres
from tasks.database_timelines import Fork

TIMELINE = "select timeline_id from pg_control_checkpoint()"
LEFT_OUT = re.compile(r"before LSN ([0-9A-F]+/[0-9A-F]+)")
PAGE_HEADER = 40
HINT = "clients are still kept out; the old directory lies beside"


def must_have_stopped_there(plan: Plan, reason: str) -> None:
    """Raises: NotRecovered: it stopped past the target, or before it."""
    kind, value = plan.target.kind, plan.target.value
    wanted = {
        None: "no recovery target specified",
        "xid": f"before transaction {value}",
        "time": f"before {str(value)[:19]}",
        "lsn": f"before LSN {value}, or behind the header of its page",
        "name": f'at restore point "{value}"',
    }[kind]
    fits = {"time": _is_behind, "lsn": _is_at}[kind](plan, reason) if kind in ("time", "lsn") else reason == wanted
    if not fits:
        raise NotRecovered(f"recovery stopped {reason!r}, the plan says {wanted!r}", HINT)


def _is_behind(plan: Plan, reason: str) -> bool:
    """For a time the history names the first commit that was left out: it is at the target or behind it."""
    try:
        left_out = datetime.fromisoformat(reason.removeprefix("before "))
    except ValueError:
        return False
    return reason.startswith("before ") and plan.target.at is not None and left_out >= plan.target.at


def _is_at(plan: Plan, reason: str) -> bool:
    """The history names the first record that was left out. Where the target was the end of the WAL, that may begin
    behind the header of a new page. `pg_waldump` writes the same position with more zeros."""
    found = LEFT_OUT.fullmatch(reason)
    return found is not None and 0 <= wal.position(found[1]) - wal.position(str(plan.target.value)) <= PAGE_HEADER


def must_have_come_from(plan: Plan, postgres: Postgres, timeline: int) -> Fork:
    """Where it left the timeline that the plan follows, and why.

    Raises:
        NotRecovered: it came from another one: all that was committed on the planned one is missing.
    """
    forks = database_timelines.own(postgres, timeline).forks
    if not forks or plan.timeline not in (None, forks[-1].timeline):
        came = f"timeline {forks[-1].timeline}" if forks else "no other"
        raise NotRecovered(f"timeline {timeline} comes from {came}, the plan follows timeline {plan.timeline}", HINT)
    return forks[-1]


def still_there(plan: Plan, postgres: Postgres, timeline: int) -> Check:
    """The database is the one that this run has recovered: nobody has restored another over it since."""
    name, expected = "timeline", f"{timeline}, from {plan.timeline}"
    now = int(postgres.value(TIMELINE))
    try:
        must_have_stopped_there(plan, must_have_come_from(plan, postgres, now).reason)
    except NotRecovered as error:
        return Check(name=name, expected=expected, observed=error.problem, status=CheckStatus.FAILED)
    status = CheckStatus.PASSED if now == timeline else CheckStatus.FAILED
    return Check(name=name, expected=expected, observed=str(now), status=status)
