"""How far a restore and a recovery have come."""

from __future__ import annotations

from tasks.database_progress import of_restore, segments_between, told

SEGMENT = 16 * 1024 * 1024


def test_line_of_a_restore() -> None:
    """pgBackRest says of each file how much of all is there with it."""
    assert of_restore("P00 DETAIL: restore file /pg/data/base/5/1255 (760KB, 34.53%) checksum 1f2e") == 0.3453
    assert of_restore("P01 DETAIL: restore file /pg/data/base/5/13 (bundle 1/20, 8KB, 3.20%) checksum 1f2e") == 0.032
    assert of_restore("P00   INFO: restore backup set 20261125-083505F") is None


def test_segments_over_a_boundary() -> None:
    """A log has 256 segments of 16 MB; a switch of the timeline in between does not count."""
    assert segments_between("0000000100000000000000FE", "000000020000000100000001", SEGMENT) == 3
    assert segments_between("000000010000000000000005", "000000010000000000000004", SEGMENT) == 0


def test_told_with_what_is_left() -> None:
    """By the pace so far; nothing of it before the first byte."""
    assert told("restored", 500_000_000, 2_000_000_000, 10) == "restored: 500 of 2000 MB (25 %), about 30 s more"
    assert told("restored", 0, 2_000_000_000, 10) == "restored: 0 of 2000 MB (0 %)"
