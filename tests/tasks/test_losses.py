"""What was lost, by the markers that the application acknowledged and no longer has."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbooks.errors import Unavailable
from runbooks.records import Marker
from runbooks.site import Dns, Markers
from tasks import lines, losses
from tasks.losses import Count, ReadBack
from tests.tasks.outside import application

pytestmark = pytest.mark.slow

TEN = datetime(2026, 11, 23, 10, tzinfo=UTC)
VOLUME = "volume:invoices"


def _marker(number: int) -> Marker:
    """Acknowledged *number* seconds after ten."""
    return Marker(seq=number, at=TEN + timedelta(seconds=number), application="orders", store=VOLUME, id=f"m{number}")


def _count(present: set[int], *, fault: int | None = 60, written: range = range(100)) -> Count:
    at = None if fault is None else TEN + timedelta(seconds=fault)
    return losses.count([_marker(n) for n in written], present, at)


def test_nothing_is_missing() -> None:
    """0, since all that was acknowledged is there."""
    assert _count(set(range(100))) == Count(rpo_seconds=0, lost=0, given_up=0)


def test_everything_since_the_backup() -> None:
    """From the fault back to the last marker that came back; what was written after the fault is given up."""
    assert _count(set(range(20))) == Count(rpo_seconds=41, lost=40, given_up=40)


def test_hole_in_the_middle() -> None:
    """The first hole counts, even if later markers are there."""
    assert _count(set(range(100)) - {30}) == Count(rpo_seconds=31, lost=1, given_up=0)


def test_only_after_the_fault() -> None:
    """What was acknowledged at the fault or after it is given up, not lost."""
    assert _count(set(range(60))) == Count(rpo_seconds=0, lost=0, given_up=40)


def test_no_markers_before_the_fault() -> None:
    """Unknown, which is not 0."""
    assert _count(set(range(60, 100)), written=range(60, 100)) == Count(rpo_seconds=None, lost=None, given_up=0)


def test_not_one_marker_came_back() -> None:
    """How far the loss reaches cannot be told."""
    assert _count(set()) == Count(rpo_seconds=None, lost=60, given_up=40)


def test_unknown_fault() -> None:
    """How many are missing is known, how long is not."""
    assert _count(set(range(90)), fault=None) == Count(rpo_seconds=None, lost=10, given_up=None)


@given(st.sets(st.integers(0, 60)))
def test_ranges(numbers: set[int]) -> None:
    """Ranges hold exactly the numbers."""
    read_back = ReadBack(at=TEN, application="orders", store=VOLUME, first=0, last=60, absent=losses.ranges(numbers))
    assert read_back.absent_numbers == numbers


@pytest.mark.parametrize("page", [None, 1_000])
def test_a_hundred_thousand_markers(page: int | None) -> None:
    """They are read back in seconds, in one answer or in pages."""
    with application() as app:
        app.world.markers["volume"] = dict.fromkeys(range(1, 100_001), "")
        app.world.page = page
        began = time.monotonic()
        found = losses.present(_markers(app.url), Dns(), after=10)
        assert found == set(range(11, 100_001))
        print(f"100,000 markers in {time.monotonic() - began:.2f} s, page {page}")
        assert time.monotonic() - began < 15


def _markers(url: str) -> Markers:
    return Markers(store=VOLUME, write=f"{url}/markers/volume", read=f"{url}/markers/volume")


def test_store_that_does_not_answer() -> None:
    """Nothing read is not the same as nothing there."""
    with application() as app:
        app.world.dead_stores.add("volume")
        with pytest.raises(Unavailable, match=r"markers of volume:invoices: status 503"):
            losses.present(_markers(app.url), Dns(), after=0)


def test_loss_of_an_earlier_disaster(tmp_path: Path) -> None:
    """What was missing at the last look before the fault is not counted again; what was found out later is."""
    log = lines.Log(tmp_path / "read-backs.jsonl")
    for second, absent in ((10, ((1, 5),)), (20, ((1, 3), (7, 7))), (90, ((1, 60),))):
        at = TEN + timedelta(seconds=second)
        log.append(ReadBack(at=at, application="orders", store=VOLUME, first=1, last=60, absent=absent))
    assert losses.lost_before(tmp_path, "orders", VOLUME, TEN + timedelta(seconds=60)) == {1, 2, 3, 7}
    assert losses.lost_before(tmp_path, "orders", "rows:orders", TEN + timedelta(seconds=60)) == set()
