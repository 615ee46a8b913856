"""The cluster's clock against ours: what it stamps is judged by our clock, so it is set back by what it is ahead."""

from __future__ import annotations

from datetime import datetime, timedelta

from runbooks.model import spell
from runbooks.records import Severity
from tasks.cases import Case
from tasks.clients.kubernetes import Api

MEASURED_TO = timedelta(seconds=2)
"""An HTTP date holds whole seconds, and an answer takes its time: less than this is no difference that we can see."""
WORTH_TELLING = timedelta(seconds=5)


def ahead(api: Api) -> timedelta:
    """How far the cluster's clock is ahead of ours (negative: behind), when we connected."""
    found = api.skew()
    return found if abs(found) >= MEASURED_TO else timedelta()


def note(case: Case, api: Api) -> None:
    """It is in the report; one that could mislead people is a finding."""
    found, system = api.skew(), f"kubernetes {case.region.name}"
    case.note("skew", system=system, seconds=round(found.total_seconds(), 1))
    if abs(found) >= WORTH_TELLING:
        way = "ahead of" if found > timedelta() else "behind"
        case.finding(
            "clocks agree",
            system,
            Severity.YELLOW,
            f"the clock of {system} is {spell(abs(timedelta(seconds=round(found.total_seconds()))))} {way} ours; "
            "Velero's stamps are counted by our clock here",
            "which one is wrong? does NTP run on both (chronyc tracking)?",
        )


def theirs(case: Case, at: datetime) -> datetime:
    """What the cluster's clock showed at this instant of ours, by what this run measured: files are stamped by it."""
    system = f"kubernetes {case.region.name}"
    measured = [e.data["seconds"] for e in case.journal.of("skew") if e.data["system"] == system]
    found = timedelta(seconds=float(str(measured[-1]))) if measured else timedelta()
    return at + found if abs(found) >= MEASURED_TO else at
