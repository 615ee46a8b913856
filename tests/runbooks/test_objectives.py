"""Which protection an objective needs, and whether the schedules that there are can meet it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import pytest

from runbooks import objectives, site
from runbooks.objectives import DEFAULTS, PROTECTIONS, Judgement, Objectives
from runbooks.site import Application, Schedule, Site

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
FIFTEEN = Schedule(kind="velero", name="orders-15m", every=15 * MINUTE)
SIX_HOURS = Schedule(kind="velero", name="orders-6h", every=6 * HOUR)


def judged(
    scenario: str, *schedules: Schedule, replication: Literal["none", "asynchronous", "synchronous"] = "none"
) -> Judgement:
    application = Application(
        name="orders", home="a", schedules=schedules, objectives={scenario: DEFAULTS[scenario]}, replication=replication
    )
    [only] = objectives.judge(with_applications(application))
    return only


def with_applications(*applications: Application) -> Site:
    return site.load("production").model_copy(update={"applications": applications})


@pytest.mark.parametrize(
    ("rto", "rpo", "technique", "cost"),
    [
        (24 * HOUR, 24 * HOUR, "daily backup", "low"),
        (4 * HOUR, HOUR, "hourly backup + fast restore", "medium"),
        (5 * HOUR, 24 * HOUR, "hourly backup + fast restore", "medium"),
        (2 * HOUR, 30 * MINUTE, "continuous replication + automatic failover", "high"),
        (8 * HOUR, timedelta(), "synchronous multi-region", "very high"),
    ],
)
def test_cheapest_that_meets_both(rto: timedelta, rpo: timedelta, technique: str, cost: str) -> None:
    """The cheapest row, also when only one of the two asks for it."""
    found = objectives.cheapest(Objectives(rto=rto, rpo=rpo))
    assert found is not None
    assert (found.technique, found.cost) == (technique, cost)


def test_more_than_anything_reaches() -> None:
    """No row is named rather than the dearest."""
    assert objectives.cheapest(Objectives(rto=timedelta(seconds=1), rpo=timedelta())) is None


def test_backup_every_six_hours() -> None:
    """It cannot meet 30 minutes, and that is said in words."""
    alone = judged("namespace-deletion", SIX_HOURS)
    assert alone.disagreements[0] == "a backup every 6 h cannot meet an RPO of 30 min"


def test_two_schedules() -> None:
    """Together they meet it; the one that alone would miss it is named."""
    both = judged("namespace-deletion", FIFTEEN, SIX_HOURS)
    assert not [line for line in both.disagreements if "cannot" in line]
    assert both.alone == (
        "orders-15m alone: one every 15 min can meet an RPO of 30 min",
        "orders-6h alone: a backup every 6 h cannot meet an RPO of 30 min",
    )
    assert both.has == PROTECTIONS[1]


def test_nothing_protects_it() -> None:
    """A schedule of another kind does not help."""
    found = judged("database-corruption", FIFTEEN)
    assert (found.has, found.disagreements) == (
        None,
        ("no pgbackrest schedule protects it, so all of it would be lost",),
    )


def test_deletion_in_a_replicated_application() -> None:
    """The replica has deleted it, too: only the backup counts."""
    found = judged("namespace-deletion", SIX_HOURS, replication="synchronous")
    assert found.best_rpo == 6 * HOUR
    assert "a backup every 6 h cannot meet an RPO of 30 min" in found.disagreements


@pytest.mark.parametrize(
    ("replication", "told"),
    [
        ("none", ("nothing is replicated to the other region, so a lost region takes all of it",)),
        ("asynchronous", ("asynchronous replication cannot promise an RPO of 0 s: its loss has no bound",)),
        ("synchronous", ()),
    ],
)
def test_region_lost(replication: Literal["none", "asynchronous", "synchronous"], told: tuple[str, ...]) -> None:
    """Only synchronous replication promises no loss."""
    assert judged("region-failover", FIFTEEN, replication=replication).disagreements == told


def test_restore_slower_than_wanted() -> None:
    """What the table cannot promise, a drill must show: it is neither called met nor missed."""
    [told] = judged("namespace-deletion", FIFTEEN).disagreements
    assert told == (
        "hourly backup + fast restore usually takes up to 4 h: only a drill shows whether an RTO of 2 h is met"
    )


def test_application_without_objectives() -> None:
    """It is judged by the defaults of every scenario; by that of files only when it has some."""
    found = objectives.judge(with_applications(Application(name="orders", home="a")))
    assert [one.scenario for one in found] == [s for s in DEFAULTS if s != "file-restore"]


@pytest.mark.parametrize(
    ("every", "told"),
    [
        (24 * HOUR, ()),
        (48 * HOUR, ("a backup every 2 d cannot meet an RPO of 1 d",)),
        (None, ("no restic schedule protects it, so all of it would be lost",)),
    ],
)
def test_files_on_a_host(every: timedelta | None, told: tuple[str, ...]) -> None:
    """A daily restic backup meets an RPO of a day."""
    schedules = () if every is None else (Schedule(kind="restic", name="documents", every=every),)
    one = Application(name="orders", home="a", schedules=schedules, file_sets=("documents",))
    found = {each.scenario: each for each in objectives.judge(with_applications(one))}["file-restore"]
    assert found.best_rpo == every
    assert [line for line in found.disagreements if "RTO" not in line] == list(told)
