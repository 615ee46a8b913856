"""WAL that is missing is found whatever the timelines did."""

from __future__ import annotations

import pytest

from runbooks.wal import Timeline, gaps, timeline

SUM = "0" * 40


def archived(*names: str) -> list[str]:
    return [f"{name[:16]}/{name}-{SUM}.lz4" for name in names]


def segment(on: int, number: int) -> str:
    return f"{on:08X}{number // 256:08X}{number % 256:08X}"


def test_no_gap() -> None:
    """Over the end of a log, too."""
    assert gaps(archived(*(segment(1, n) for n in range(253, 260))), [], segment(1, 253), segment(1, 255)) == []


@pytest.mark.parametrize("lost", [3, 4, 7])
def test_segment_that_is_gone(lost: int) -> None:
    """The first that is needed, and any after it."""
    there = archived(*(segment(1, n) for n in range(3, 9) if n != lost))
    assert gaps(there, [], segment(1, 3), segment(1, 4)) == [segment(1, lost)]


def test_segments_before_the_oldest_backup() -> None:
    """Nobody needs them."""
    assert gaps(archived(segment(1, 1), segment(1, 5), segment(1, 6)), [], segment(1, 5), segment(1, 5)) == []


def test_nothing_is_archived() -> None:
    """Then the segments that the backup needs are missing."""
    assert gaps([], [], segment(1, 5), segment(1, 6)) == [segment(1, 5), segment(1, 6)]


def switched(at: int) -> Timeline:
    found = timeline("00000002.history", f"1\t0/{at << 24:X}\tno recovery target specified\n")
    assert found is not None
    return found


def test_timelines() -> None:
    """A segment is needed on the timeline that a recovery reads it from."""
    old, new = [segment(1, n) for n in (3, 4, 5, 6)], [segment(2, n) for n in (5, 6, 7)]
    assert gaps(archived(*old, *new), [switched(5)], segment(1, 3), segment(1, 3)) == []
    assert gaps(archived(*old, *new[1:]), [switched(5)], segment(1, 3), segment(1, 3)) == [segment(2, 5)]
    assert gaps(archived(*old[:1], *old[2:], *new), [switched(5)], segment(1, 3), segment(1, 3)) == [segment(1, 4)]


def test_timeline_of_which_nothing_is_archived() -> None:
    """All of the one before is there, what it gave up included. What a server holds counts as much as the archive."""
    there = archived(*(segment(1, n) for n in (3, 4, 5, 6)))
    assert gaps(there, [switched(5)], segment(1, 3), segment(2, 5)) == [segment(2, 5)]
    assert gaps([*there, segment(2, 5)], [switched(5)], segment(1, 3), segment(2, 5)) == []


def test_timeline_without_history() -> None:
    """Nothing leads back to the backup."""
    found = gaps(archived(segment(1, 3), segment(2, 4)), [], segment(1, 3), segment(1, 3))
    assert found[-1] == "the history of timeline 2, which leads back to timeline 1"
