"""The right snapshot: of these files, from that host, complete, from before the fault."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from runbooks import snapshots
from runbooks.errors import Refused
from runbooks.file_sets import FileSet
from runbooks.secret import Secret
from runbooks.snapshots import Snapshot

SET = FileSet(name="docs", host="web", paths=("/srv/docs",), repository="/r", password=Secret(where="env:X"))
MONDAY = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def snapshot(number: int, *, host: str = "web", paths: tuple[str, ...] = ("/srv/docs",)) -> Snapshot:
    time = MONDAY + timedelta(days=number)
    return Snapshot(id=f"{number}" * 64, time=time, hostname=host, paths=paths, tree="t")


WEEK = tuple(snapshot(n) for n in range(3))


def test_as_restic_writes_them() -> None:
    """Unknown members are no harm; no snapshot at all is null in some versions."""
    raw = json.dumps([{**json.loads(WEEK[0].model_dump_json()), "tags": None, "username": "root", "program": "0.18"}])
    assert snapshots.parsed(raw) == (WEEK[0],)
    assert snapshots.parsed("null") == snapshots.parsed("[]") == ()


def test_newest() -> None:
    """Without a fault the newest of all."""
    assert snapshots.choose(WEEK, SET, before=None).snapshot == WEEK[2]


def test_newest_before_the_fault() -> None:
    """One begun after it may hold the damage."""
    found = snapshots.choose(WEEK, SET, before=WEEK[2].time)
    assert found.snapshot == WEEK[1]
    assert [r.why for r in found.rejected] == ["it was begun at 2026-11-25T03:00:00.000Z, after the fault"]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (snapshot(5, host="mail"), "it is from host mail, not web"),
        (snapshot(5, paths=("/srv",)), "it does not hold /srv/docs"),
    ],
)
def test_of_something_else(other: Snapshot, why: str) -> None:
    """A repository may serve many hosts."""
    found = snapshots.choose((*WEEK, other), SET, before=None)
    assert (found.snapshot, [r.why for r in found.rejected]) == (WEEK[2], [why])


def test_incomplete() -> None:
    """It is passed over by rule, and can be asked for by name."""
    broken = [WEEK[2].id]
    assert snapshots.choose(WEEK, SET, before=None, incomplete=broken).snapshot == WEEK[1]
    assert "not complete" in snapshots.choose(WEEK, SET, before=None, incomplete=broken, named="2" * 8).why


@pytest.mark.parametrize("wrong", ["deadbeef", "0", "latest", ""])
def test_wrong_id(wrong: str) -> None:
    """restic takes it silently; here it is refused with the ones that there are."""
    with pytest.raises(Refused) as refused:
        snapshots.choose(WEEK, SET, before=None, named=wrong)
    assert refused.value.problem == f"/r has 0 snapshots '{wrong}'"
    assert "22222222, 11111111, 00000000" in refused.value.hint


def test_named_after_the_fault() -> None:
    """A person who names it must say another time of the fault."""
    with pytest.raises(Refused, match="after the fault"):
        snapshots.choose(WEEK, SET, before=MONDAY, named="2" * 64)


def test_none() -> None:
    """Each is named with its reason."""
    with pytest.raises(Refused) as refused:
        snapshots.choose(WEEK, SET, before=MONDAY)
    assert refused.value.problem.count("after the fault") == 3
