"""Which backup sets lead to the timeline that a database is on."""

from __future__ import annotations

from datetime import UTC, datetime

from tasks import database_timelines
from tasks.database_backups import BackupSet, Repository

HISTORY = """1\t0/5000000\tbefore transaction 812

# a comment
3\t1/20\tno recovery target specified
"""
PAST = database_timelines.read(4, HISTORY)


def taken(timeline: int, stop: str) -> BackupSet:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    return BackupSet(label=f"{timeline}-{stop}", kind="full", started_at=at, stopped_at=at, size_bytes=1, wal_start="0",
                     wal_stop=f"{timeline:08X}{0:016X}", stop_lsn=stop, has_errors=False, run=None)  # fmt: skip


def test_history() -> None:
    """As PostgreSQL writes it: each line tells which timeline was left, where, and why."""
    assert [(f.timeline, f.position, f.reason) for f in PAST.forks] == [
        (1, 0x5000000, "before transaction 812"), (3, (1 << 32) + 0x20, "no recovery target specified"),
    ]  # fmt: skip
    assert database_timelines.read(1, "").forks == ()


def test_sets() -> None:
    """Of an older timeline only what ended before it was left; of one that is not in the past nothing at all."""
    own, before, behind = taken(4, "9/0"), taken(1, "0/5000000"), taken(1, "0/5000001")
    given_up, third = taken(2, "0/4000000"), taken(3, "0/FFFFFFFF")
    repository = Repository(system_identifier="1", sets=(own, before, behind, given_up, third), newest_wal=None,
                            archive=None, is_locked=False)  # fmt: skip
    assert database_timelines.within(repository, PAST).sets == (own, before, third)


def test_sets_before_a_position() -> None:
    """One that ended behind the target would recover past it."""
    early, late = taken(4, "9/0"), taken(4, "9/1")
    repository = Repository(system_identifier="1", sets=(early, late), newest_wal=None, archive=None, is_locked=False)
    assert database_timelines.within(repository, PAST, before="9/0").sets == (early,)
