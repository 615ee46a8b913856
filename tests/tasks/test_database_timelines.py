"""Which sets lead to the timeline that the database is on."""

from __future__ import annotations

import pytest

from tasks.database_backups import BackupSet
from tasks.database_timelines import leads, position
from tests.tasks.test_database_backups import OLD

LEFT = {1: position("0/5000000"), 2: position("0/9000000")}
"""Timeline 3 left 1 at 0/5000000 and 2 at 0/9000000."""


def taken(timeline: int, lsn: str) -> BackupSet:
    return OLD.model_copy(update={"wal_stop": f"{timeline:08X}0000000000000004", "stop_lsn": lsn})


@pytest.mark.parametrize(("timeline", "lsn", "fits"), [
    (3, "0/A000000", True),
    (1, "0/4FFFFFF", True),
    (2, "0/8000000", True),
    (1, "0/5000001", False),
    (2, "0/A000000", False),
    (4, "0/4000000", False),
])  # fmt: skip
def test_set_of_a_timeline(timeline: int, lsn: str, fits: bool) -> None:
    """One that ended behind the point where its timeline was left holds what was given up since, and leads nowhere."""
    assert leads(taken(timeline, lsn), 3, LEFT) == fits
