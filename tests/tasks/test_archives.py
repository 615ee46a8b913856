"""Whether WAL comes to the repository in time, judged by what the server says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tasks import archives
from tasks.archives import Archiver

GOOD = Archiver(
    mode="on", timeout_seconds=60, oldest_seconds=0, waiting=0, is_failing=False, last_archived="0" * 24,
    last_failed="", current="0" * 24, segment_bytes=16 << 20, started_at="",
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "on time"),
        ({"waiting": 3, "oldest_seconds": 299}, "on time"),
        ({"waiting": 3, "oldest_seconds": 301}, "the oldest of 3 waiting segments is 301 s old, allowed are 5 min"),
        ({"is_failing": True, "waiting": 1, "last_failed": "F"}, "the last try failed, of F; 1 segments wait"),
        ({"mode": "off"}, "archive_mode is off"),
        ({"timeout_seconds": 0}, "archive_timeout is 0 s: a segment that is not full may wait for longer than 5 min"),
        (
            {"timeout_seconds": 3600},
            "archive_timeout is 1 h: a segment that is not full may wait for longer than 5 min",
        ),
    ],
)
def test_lag(change: dict[str, object], told: str) -> None:
    """What is not archived within the limit may be lost with the host."""
    assert archives.lag(GOOD.model_copy(update=change), timedelta(minutes=5)) == told
