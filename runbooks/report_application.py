"""What a run did to each application; the worst one is the headline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TypeVar

from runbooks import clocks as instants
from runbooks import report_parts as parts
from runbooks.clocks import Clocks
from runbooks.records import Check, CheckStatus, Impact, Sample, StoreLoss
from runbooks.report_run import Recorded
from runbooks.report_schema import Actual, ObjectivesMet, ReportApplication, seconds

N = TypeVar("N", int, float)


def applications(run: Recorded) -> tuple[ReportApplication, ...]:
    return tuple(_application(run, name) for name in parts.names(run.entries, run.application))


def _application(run: Recorded, name: str) -> ReportApplication:
    entries, seen = run.about(name), run.seen_of(name)
    recorded = parts.clocks(entries, run.started)
    clocks = instants.completed(recorded, seen, mode=run.mode, impact=run.impact, sustain=run.sustain)
    stores = parts.stores(entries)
    actual = _actual(run, clocks, seen, stores)
    checks = parts.checks(entries)
    if run.impact is Impact.SANDBOX and checks:
        checks = [*checks, _left_alone(actual)]
    return ReportApplication(
        name=name,
        clocks=clocks,
        actual=actual,
        objectives=run.objectives,
        objectives_met=_met(run, clocks, actual),
        stores=stores,
        checks=tuple(checks),
        weakly_checked=parts.weakly_checked(entries),
        **parts.described(entries),
    )


def _actual(run: Recorded, clocks: Clocks, seen: Sequence[Sample], stores: Sequence[StoreLoss]) -> Actual:
    loss = instants.loss(stores)
    at_least = None
    if run.impact is not Impact.SANDBOX:
        at_least = instants.rto_at_least(clocks, mode=run.mode, until=run.last_instant)
    return Actual(
        rto_seconds=seconds(instants.actual_rto(clocks)),
        rto_at_least_seconds=seconds(at_least),
        rpo_seconds=seconds(loss.rpo),
        rpo_bound_seconds=seconds(loss.bound),
        human_wait_seconds=seconds(instants.human_wait(clocks)),
        outage_seconds=seconds(_outage(run, clocks, seen)),
        markers_lost=loss.lost,
        markers_given_up=loss.given_up,
    )


def _outage(run: Recorded, clocks: Clocks, seen: Sequence[Sample]) -> timedelta | None:
    """Of the run. In a sandbox the original has no fault: from the start of the run on."""
    if run.impact is not Impact.SANDBOX:
        return instants.outage(seen, clocks.fault, visible=clocks.client_visible, until=clocks.validated)
    visible = instants.client_visible(seen, run.started, run.sustain, until=clocks.validated)
    return instants.outage(seen, run.started, visible=visible, until=clocks.validated)


def _left_alone(actual: Actual) -> Check:
    """A sandbox that harms the original is no sandbox."""
    outage = actual.outage_seconds
    status = CheckStatus.NOT_RUN if outage is None else CheckStatus.FAILED if outage else CheckStatus.PASSED
    observed = "unknown" if outage is None else f"{outage:g} s"
    return Check(name="outage of the original", expected="0 s", observed=observed, status=status)


def _met(run: Recorded, clocks: Clocks, actual: Actual) -> ObjectivesMet:
    """Against the RTO stands the actual one; against the RPO, while it is unknown, its upper bound."""
    taken = instants.recovery_time(clocks, run.impact)
    loss = actual.rpo_bound_seconds if actual.rpo_seconds is None else actual.rpo_seconds
    target = run.objectives
    return ObjectivesMet(
        rto=instants.is_met(target.rto_seconds, seconds(taken), at_least=actual.rto_at_least_seconds),
        rpo=instants.is_met(target.rpo_seconds, loss),
    )


# -- the headline -------------------------------------------------------------------------------------------------


def worst_clocks(applications: Sequence[ReportApplication]) -> Clocks:
    """Those of the application that took longest; one of which that is unknown is worse than any other."""
    return max(applications, key=lambda a: (a.actual.rto_seconds is None, a.actual.rto_seconds or 0)).clocks


def worst_actual(applications: Sequence[ReportApplication]) -> Actual:
    """The worst of each figure. One that is unknown for an application is unknown; a lower limit holds all the same."""
    found = [a.actual for a in applications]
    return Actual(
        rto_seconds=_worst(a.rto_seconds for a in found),
        rto_at_least_seconds=max(
            (a.rto_at_least_seconds for a in found if a.rto_at_least_seconds is not None), default=None
        ),
        rpo_seconds=_worst(a.rpo_seconds for a in found),
        rpo_bound_seconds=_worst(a.rpo_bound_seconds for a in found),
        human_wait_seconds=_worst(a.human_wait_seconds for a in found),
        outage_seconds=_worst(a.outage_seconds for a in found),
        markers_lost=_worst(a.markers_lost for a in found),
        markers_given_up=_worst(a.markers_given_up for a in found),
    )


def _worst(figures: Iterable[N | None]) -> N | None:
    known = list(figures)
    return None if None in known else max((n for n in known if n is not None), default=None)


def worst_met(applications: Sequence[ReportApplication]) -> ObjectivesMet:
    return ObjectivesMet(
        rto=_all_met([a.objectives_met.rto for a in applications]),
        rpo=_all_met([a.objectives_met.rpo for a in applications]),
    )


def _all_met(met: Sequence[bool | None]) -> bool | None:
    return False if False in met else None if None in met else True
