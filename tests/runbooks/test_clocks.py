"""Actual RTO, outage and actual RPO: the worked examples with their numbers, and what a missing sample does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from runbooks import clocks
from runbooks.clocks import Clocks
from runbooks.model import Json
from runbooks.records import Impact, Mode, Sample, StoreLoss
from tests.runbooks.journals import SUSTAIN, at, maybe, samples


@dataclass(frozen=True)
class Worked:
    """One row of the table: what was recorded and seen, and what must follow."""

    name: str
    recorded: dict[str, str]
    seen: Sequence[Sample]
    clocks: dict[str, str | None]
    rto: float | None
    outage: float | None
    at_least: float | None = None
    mode: Mode = Mode.DRILL
    impact: Impact = Impact.REAL
    recovery: float | None = None
    stores: Sequence[StoreLoss] = ()
    rpo: float | None = None
    bound: float | None = None
    given_up: int | None = None
    until: str = "10:20"
    extra: dict[str, str] = field(default_factory=dict)


def loss(
    name: str,
    rpo: float | None,
    bound: float | None,
    lost: int | None = 0,
    given_up: int | None = 0,
    backup: str | None = None,
) -> StoreLoss:
    known: dict[str, Json] | None = None if backup is None else {"name": backup}
    return StoreLoss(name=name, rpo_seconds=rpo, bound_seconds=bound, lost=lost, given_up=given_up, backup=known)


TWELVE = (loss("volume:invoices", 720, 720, 712), loss("rows:orders", 0, 720))
TABLE = [
    Worked(
        "namespace drill",
        {"started": "09:59", "fault": "10:00:00", "restored": "10:00:28", "validated": "10:00:33"},
        samples("09:58", "10:01:10", red=[("10:00:02", "10:00:29")]),
        {"fault": "10:00:00", "detected": "10:00:02", "client_visible": "10:00:29"},
        rto=33,
        outage=27,
        stores=TWELVE,
        rpo=720,
        bound=720,
        given_up=0,
    ),
    Worked(
        "pod loss, never red",
        {"started": "09:59", "fault": "10:00:00", "restored": "10:00:01", "validated": "10:00:04"},
        samples("09:58", "10:00:40"),
        {"fault": "10:00:00", "detected": None, "client_visible": "10:00:00"},
        rto=4,
        outage=0,
        stores=[loss("rows:orders", 0, 0)],
        rpo=0,
        bound=0,
        given_up=0,
    ),
    Worked(
        "bad DELETE",
        {
            "started": "09:55",
            "fault": "08:00",
            "detected": "09:50",
            "declared": "09:55",
            "restored": "10:14",
            "validated": "10:16",
        },
        samples("07:59", "10:17", red=[("10:00", "10:15")]),
        {"fault": "08:00", "detected": "09:50", "client_visible": "10:15"},
        rto=2 * 3600 + 16 * 60,
        outage=15 * 60,
        mode=Mode.INCIDENT,
        stores=[loss("rows:orders", 0, 4, 0, 7200)],
        rpo=0,
        bound=4,
        given_up=7200,
    ),
    Worked(
        "killed and resumed",
        {"started": "09:59", "fault": "10:00:00", "restored": "10:05:30", "validated": "10:05:40"},
        samples("09:58", "10:06:10", red=[("10:00:02", "10:05:31")]),
        {"fault": "10:00:00", "detected": "10:00:02", "client_visible": "10:05:31"},
        rto=340,
        outage=329,
        stores=TWELVE,
        rpo=720,
        bound=720,
        given_up=0,
    ),
    Worked(
        "sandbox",
        {"started": "09:59", "declared": "10:00", "restored": "10:02", "validated": "10:03"},
        samples("09:58", "10:04"),
        {"fault": None, "detected": None, "client_visible": None},
        rto=None,
        outage=0,
        impact=Impact.SANDBOX,
        recovery=180,
        stores=[loss("volume:invoices", 720, 780, None, None)],
        rpo=720,
        bound=780,
    ),
    Worked(
        "incident without observer",
        {"started": "03:10", "restored": "03:20", "validated": "03:24"},
        samples("03:10:01", "03:25", red=[("03:10:01", "03:21")]),
        {"fault": None, "detected": "03:10:01", "client_visible": "03:21"},
        rto=None,
        outage=None,
        at_least=14 * 60,
        mode=Mode.INCIDENT,
        stores=[loss("volume:invoices", None, 900, None, None)],
        rpo=None,
        bound=900,
    ),
]


def recorded(**instants: str) -> Clocks:
    return Clocks(**{name: at(time) for name, time in instants.items()})


def seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_worked_example(row: Worked) -> None:
    """Each number of the table comes out as it is written there."""
    found = clocks.completed(recorded(**row.recorded), row.seen, mode=row.mode, impact=row.impact, sustain=SUSTAIN)
    assert {name: getattr(found, name) for name in row.clocks} == {n: t and at(t) for n, t in row.clocks.items()}
    assert seconds(clocks.actual_rto(found)) == row.rto
    assert seconds(clocks.recovery_time(found, row.impact)) == (row.recovery or row.rto)
    seen = clocks.outage(row.seen, found.fault, visible=found.client_visible, until=found.validated)
    assert seconds(seen) == row.outage
    assert seconds(clocks.rto_at_least(found, mode=row.mode, until=at(row.until))) == row.at_least
    worst = clocks.loss(row.stores)
    assert (seconds(worst.rpo), seconds(worst.bound), worst.given_up) == (row.rpo, row.bound, row.given_up)


def visible(seen: Sequence[Sample], fault: str | None = "10:00", **others: str) -> str | None:
    more = {name: at(time) for name, time in others.items()}
    found = clocks.client_visible(seen, maybe(fault), SUSTAIN, restored=more.get("restored"), until=more.get("until"))
    return None if found is None else f"{found:%H:%M:%S}"


def outage(seen: Sequence[Sample], end: str, until: str | None = None) -> float | None:
    return seconds(clocks.outage(seen, at("10:00"), visible=at(end), until=maybe(until)))


def test_gap_before_the_first_red_sample() -> None:
    """It may have been down since the last green one: the outage begins there; it was detected by the sample."""
    seen = samples("09:59", "10:02", red=[("10:00:15", "10:00:20")], silent=[("10:00:05", "10:00:15")])
    assert outage(seen, "10:00:20") == 16
    assert clocks.detected(seen, at("10:00")) == at("10:00:15")


def test_gap_after_the_last_red_sample() -> None:
    """It may have been down up to the first green one."""
    seen = samples("09:59", "10:02", red=[("10:00:05", "10:00:10")], silent=[("10:00:10", "10:00:25")])
    assert visible(seen) == "10:00:25"


def test_gap_between_green_samples() -> None:
    """Nobody knows that it was up: counted as an outage from its one end to the other."""
    seen = samples("09:59", "10:02", silent=[("10:00:10", "10:00:20")])
    assert (visible(seen), outage(seen, "10:00:20")) == ("10:00:20", 11)


def test_gap_over_the_fault() -> None:
    """It counts from the fault on, not from before."""
    seen = samples("09:59", "10:02", silent=[("09:59:50", "10:00:10")])
    assert (visible(seen), outage(seen, "10:00:10")) == ("10:00:10", 10)


def test_gap_in_the_green_that_should_have_held() -> None:
    """The green is proven only from the end of the gap on."""
    seen = samples("09:59", "10:03", red=[("10:00:02", "10:00:10")], silent=[("10:00:20", "10:00:24")])
    assert visible(seen) == "10:00:24"


def test_two_seconds_without_an_answer() -> None:
    """One missing sample is no gap."""
    assert visible(samples("09:59", "10:02", silent=[("10:00:10", "10:00:11")])) == "10:00:00"


def test_samples_that_end_before_validated() -> None:
    """Silence at the end is a gap, too: that nothing was red afterwards was not seen."""
    assert visible(samples("09:59", "10:00:05"), until="10:00:30") is None


def test_no_samples() -> None:
    """Nothing is known: neither that it was visible nor that there was no outage."""
    assert visible([]) is None
    assert clocks.outage([], at("10:00"), visible=None) is None


def test_green_that_did_not_hold() -> None:
    """A lucky answer among red ones is not the end of the outage."""
    seen = samples("09:59", "10:02", red=[("10:00:02", "10:00:10"), ("10:00:39", "10:00:45")])
    assert visible(seen) == "10:00:45"


def test_green_that_held_exactly_as_long_as_asked() -> None:
    """30 s are 30 s."""
    seen = samples("09:59", "10:02", red=[("10:00:02", "10:00:10"), ("10:00:40", "10:00:45")])
    assert visible(seen) == "10:00:10"


def test_samples_that_end_before_the_green_held() -> None:
    """Not proven yet."""
    assert visible(samples("09:59", "10:00:39", red=[("10:00:02", "10:00:10")])) is None


def test_green_before_the_restore_was_done() -> None:
    """A hiccup long before the fencing does not end the outage that the recovery ended."""
    seen = samples("07:59", "10:17", red=[("08:30", "08:30:02"), ("10:00", "10:15")])
    assert visible(seen, "08:00", restored="10:14") == "10:15:00"


def test_red_after_it_was_back() -> None:
    """Another outage; the first one ended."""
    seen = samples("09:59", "10:05", red=[("10:00:02", "10:00:10"), ("10:03", "10:03:02")])
    assert visible(seen, restored="10:00:09") == "10:00:10"


def test_red_before_the_fault() -> None:
    """Does not count as detected."""
    assert clocks.detected(samples("09:59", "10:01", red=[("09:59:10", "09:59:20")]), at("10:00")) is None


def test_incident_that_nobody_measured() -> None:
    """A person who starts a run knows of it by then."""
    assert clocks.detected([], None, started=at("03:10"), mode=Mode.INCIDENT) == at("03:10")


def fault(seen: Sequence[Sample], started: str = "10:00", said: str | None = None) -> str | None:
    found = clocks.fault(seen, started=at(started), sustain=SUSTAIN, said=maybe(said))
    return None if found is None else f"{found:%H:%M:%S}"


def test_fault_that_a_person_knows() -> None:
    """Their word comes before what was seen."""
    assert fault(samples("09:50", "10:00", red=[("09:58", "10:05")]), said="09:40") == "09:40:00"


def test_fault_that_was_seen() -> None:
    """The last green before the present red."""
    assert fault(samples("09:50", "10:00", red=[("09:58", "10:05")])) == "09:57:59"


def test_fault_before_a_lucky_answer() -> None:
    """A green that did not hold lies inside the outage and does not make it shorter."""
    assert fault(samples("09:50", "10:00", red=[("09:55", "09:57"), ("09:57:10", "10:05")])) == "09:54:59"


def test_fault_after_an_earlier_outage() -> None:
    """A green that held ended that one; it is not counted again."""
    assert fault(samples("09:50", "10:00", red=[("09:52", "09:53"), ("09:59", "10:05")])) == "09:58:59"


def test_fault_during_a_gap() -> None:
    """Its worse end: the last green before it."""
    seen = samples("09:50", "10:00", red=[("09:59", "10:05")], silent=[("09:58", "09:59")])
    assert fault(seen) == "09:57:59"


@pytest.mark.parametrize("red", [[("09:50", "10:05")], []], ids=["red all along", "green all along"])
def test_fault_that_was_not_seen(red: list[tuple[str, str]]) -> None:
    """Unknown, and never a guess."""
    assert fault(samples("09:50", "10:00", red=red)) is None


def test_drill_without_a_fault() -> None:
    """A drill's fault is what its run recorded, never a red sample."""
    seen = samples("09:50", "10:00", red=[("09:58", "10:05")])
    kwargs = {"mode": Mode.DRILL, "impact": Impact.REAL, "sustain": SUSTAIN}
    assert clocks.completed(recorded(started="10:00"), seen, **kwargs).fault is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declared", "decided", "expected"),
    [("10:00", "10:04", 240), ("10:00", "10:00", 0), ("10:00", "09:58", 0)],
    ids=["asked", "not asked", "decided in prepare, as in a drill"],
)
def test_human_wait(declared: str, decided: str, expected: float) -> None:
    """From declared to decided; what was decided before costs nothing."""
    found = recorded(started="09:00", declared=declared, decided=decided)
    assert seconds(clocks.human_wait(found)) == expected


def test_human_wait_without_a_decision() -> None:
    """Unknown: it is still being waited for."""
    assert clocks.human_wait(recorded(started="09:00", declared="10:00")) is None


def test_rto_of_a_run_that_has_not_recovered() -> None:
    """Unknown, and at least as long as it lasted so far."""
    found = recorded(started="09:59", fault="10:00", client_visible="10:00:50")
    assert clocks.actual_rto(found) is None
    assert seconds(clocks.rto_at_least(found, mode=Mode.DRILL, until=at("10:02"))) == 120


def test_rto_of_a_drill_that_broke_nothing() -> None:
    """There is nothing to measure, also no lower limit."""
    assert clocks.rto_at_least(recorded(started="10:00"), mode=Mode.DRILL, until=at("10:02")) is None


def test_loss_of_a_store_without_markers() -> None:
    """Unknown, never 0."""
    assert clocks.loss([loss("files:a", None, None)]).rpo is None
    assert clocks.loss([]).rpo is None


def test_loss_hidden_below_a_known_one() -> None:
    """A store that cannot have lost more than the worst known one does not make the headline unknown."""
    assert seconds(clocks.loss([loss("volume:a", 720, 720), loss("files:b", None, 600)]).rpo) == 720
    assert clocks.loss([loss("volume:a", 720, 720), loss("files:b", None, 900)]).rpo is None


def test_loss_of_a_store_from_the_same_backup() -> None:
    """It went back to the same instant as the measured one; one that lost nothing measures nothing for others."""
    ledger = loss("volume:ledger", None, 735, backup="b")
    assert seconds(clocks.loss([loss("volume:a", 720, 735, backup="b"), ledger]).rpo) == 720
    assert clocks.loss([loss("volume:a", 720, 735, backup="another"), ledger]).rpo is None
    assert clocks.loss([loss("volume:a", 0, 735, backup="b"), ledger]).rpo is None


def test_objects_are_not_markers() -> None:
    """The count of lost cluster objects is not added to the lost markers."""
    stores = [loss("rows:orders", 0, 0, 3), loss("cluster_objects:orders", 60, 60, 7, None)]
    assert clocks.loss(stores).lost == 3


@pytest.mark.parametrize(
    ("target", "actual", "at_least", "expected"),
    [
        (60, 60, None, True),
        (60, 60.1, None, False),
        (60, None, 61, False),
        (60, None, 60, None),
        (60, None, None, None),
    ],
)
def test_is_met(target: float, actual: float | None, at_least: float | None, *, expected: bool | None) -> None:
    """Unknown is neither met nor missed, unless it has already lasted too long."""
    assert clocks.is_met(target, actual, at_least=at_least) is expected
