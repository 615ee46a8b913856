"""Which backup set is restored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runbooks.errors import Refused
from tasks.database_backups import BackupSet, Repository, choose

MONDAY = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def taken(label: str, at: datetime, *, has_errors: bool = False) -> BackupSet:
    return BackupSet(label=label, kind="full", started_at=at - timedelta(minutes=5), stopped_at=at, size_bytes=1,
                     wal_start="0", wal_stop="0", stop_lsn="0/0", has_errors=has_errors, run=None)  # fmt: skip


OLD, NEW = taken("old", MONDAY), taken("new", MONDAY + timedelta(days=1))


def held(*sets: BackupSet) -> Repository:
    return Repository(system_identifier="1", sets=sets, newest_wal=None, archive=None, is_locked=False)


def test_set_that_ended_after_the_target() -> None:
    """pgBackRest takes it silently and recovers past the target; here the one before it is chosen."""
    assert choose(held(OLD, NEW), before=NEW.stopped_at - timedelta(seconds=1), named=None) == OLD


def test_set_that_ended_within_the_same_second() -> None:
    """`info` tells whole seconds: it may have ended after the target, and recovery cannot stop before its end."""
    soon = NEW.stopped_at + timedelta(milliseconds=900)
    assert choose(held(OLD, NEW), before=soon, named=None) == OLD
    assert choose(held(OLD, NEW), before=soon + timedelta(milliseconds=100), named=None) == NEW


def test_named_set_that_is_too_new() -> None:
    """A person is told, not obeyed."""
    with pytest.raises(Refused, match="no usable backup set new that ended before"):
        choose(held(OLD, NEW), before=MONDAY + timedelta(hours=1), named="new")


def test_set_over_corrupt_pages() -> None:
    """pgBackRest exits 0 and only marks it."""
    assert choose(held(OLD, taken("bad", NEW.stopped_at, has_errors=True)), before=None, named=None) == OLD
