"""Recovery must have stopped exactly where the plan says, in PostgreSQL's own words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runbooks.database_ways import Target, Way, postgres_time
from runbooks.errors import NotRecovered
from tasks.database_plan import Plan
from tasks.database_stop_point import must_have_stopped_there
from tasks.database_timelines import Past
from tests.tasks.test_database_backups import MONDAY, OLD

AT = MONDAY + timedelta(hours=3, microseconds=512_000)
TIME = Target(kind="time", value=postgres_time(AT), at=AT)
XID = Target(kind="xid", value="812", at=AT)
LSN = Target(kind="lsn", value="0/07087598")


def plan(target: Target) -> Plan:
    return Plan(way=Way.POINT_IN_TIME, backup=OLD, target=target, past=Past(timeline=1, forks=()), table=None)


@pytest.mark.parametrize(("target", "reason"), [
    (XID, "before transaction 812"),
    (TIME, "before 2026-11-23 05:00:00.512+00"),
    (TIME, "before 2026-11-23 06:00:00.6+01"),
    (LSN, "before LSN 0/7087598"),
    (LSN, "before LSN 0/70875B0"),
    (Target(kind="name", value="release"), 'at restore point "release"'),
    (Target(), "no recovery target specified"),
])  # fmt: skip
def test_stopped_there(target: Target, reason: str) -> None:
    """For a time that is before the first commit at it or behind it, in whatever zone it is written; for a position
    before the record there, or the one behind the header of its page, however many zeros it is written with."""
    must_have_stopped_there(plan(target), reason)


@pytest.mark.parametrize(("target", "reason"), [
    (XID, "before transaction 813"),
    (XID, "after transaction 812"),
    (XID, "no recovery target specified"),
    (TIME, "before 2026-11-23 05:00:00.511999+00"),
    (TIME, "after 2026-11-23 05:00:01+00"),
    (TIME, "before transaction 812"),
    (LSN, "before LSN 0/7087590"),
    (LSN, "before LSN 0/7087600"),
    (LSN, "before LSN 1/7087598"),
    (LSN, "before transaction 812"),
    (Target(), "before transaction 812"),
])  # fmt: skip
def test_stopped_elsewhere(target: Target, reason: str) -> None:
    """A microsecond too early is too early: something that was good is missing."""
    with pytest.raises(NotRecovered, match="recovery stopped"):
        must_have_stopped_there(plan(target), reason)
