"""The instants of a run, and what follows from them: actual RTO, outage, human wait, actual RPO.

Pure functions of recorded samples and recorded instants. Where a sample is missing, its worse end counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AwareDatetime, PlainSerializer

from runbooks.model import Model, rfc3339
from runbooks.outside import Seen, Span, in_order, spans
from runbooks.records import Impact, Mode, Sample, StoreLoss

Stamp = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str)]
ZERO = timedelta()


class Clocks(Model):
    """UTC from the runner's clock; null = unknown, or it did not happen."""

    started: Stamp
    fault: Stamp | None = None
    detected: Stamp | None = None
    declared: Stamp | None = None
    decided: Stamp | None = None
    restored: Stamp | None = None
    validated: Stamp | None = None
    client_visible: Stamp | None = None


class Loss(Model):
    """The worst store of an application; `bound` is what the loss cannot exceed."""

    rpo: timedelta | None
    bound: timedelta | None
    lost: int | None
    given_up: int | None


def completed(
    recorded: Clocks,
    samples: Sequence[Sample],
    *,
    mode: Mode,
    impact: Impact,
    sustain: timedelta,
) -> Clocks:
    """The recorded instants, with those that the samples of the application tell."""
    if impact is Impact.SANDBOX:
        return recorded.model_copy(update={"fault": None, "detected": None, "client_visible": None})
    found = recorded.fault
    if found is None and mode is Mode.INCIDENT:
        found = fault(samples, started=recorded.started, sustain=sustain)
    visible = recorded.client_visible
    if samples:
        visible = client_visible(samples, found, sustain, restored=recorded.restored, until=recorded.validated)
    seen = detected(samples, found, reported=recorded.detected, started=recorded.started, mode=mode)
    return recorded.model_copy(update={"fault": found, "detected": seen, "client_visible": visible})


def fault(
    samples: Sequence[Sample], *, started: datetime, sustain: timedelta, said: datetime | None = None
) -> datetime | None:
    """When it broke: what the person says, else the last green before the present red, else unknown.

    Only a green that held for *sustain* ends an outage, so a lucky answer in the middle does not make it shorter.
    """
    if said is not None:
        return said
    past = [s for s in in_order(samples) if s.at <= started]
    if not past or past[-1].ok:
        return None
    healthy = [span.end for span in spans(past) if _held(span, sustain)]
    since = healthy[-1] if healthy else past[0].at
    first_red = next(s.at for s in past if not s.ok and s.at >= since)
    greens = [s.at for s in past if s.ok and s.at < first_red]
    return greens[-1] if greens else None


def detected(
    samples: Sequence[Sample],
    fault: datetime | None,
    *,
    reported: datetime | None = None,
    started: datetime | None = None,
    mode: Mode = Mode.DRILL,
) -> datetime | None:
    """The first red sample, or when a person reported it if that was earlier; an incident is known when it starts."""
    reds = [s.at for s in samples if not s.ok and (fault is None or s.at >= fault)]
    known = [at for at in (min(reds, default=None), reported) if at is not None]
    if not known and mode is Mode.INCIDENT:
        return started
    return min(known, default=None)


def client_visible(
    samples: Sequence[Sample],
    fault: datetime | None,
    sustain: timedelta,
    *,
    restored: datetime | None = None,
    until: datetime | None = None,
) -> datetime | None:
    """The start of the green that then held for *sustain*; never red since *fault*: the fault itself.

    A green that was over before *restored* was a pause in the outage, not its end.
    """
    seen = spans(samples, since=fault, until=until)
    if not any(_is_bad(s) for s in seen):
        return fault if seen else None
    bad = next(n for n, s in enumerate(seen) if _is_bad(s))
    for span in seen[bad:]:
        if _held(span, sustain) and (restored is None or span.end >= restored):
            return span.start
    return None


def _is_bad(span: Span) -> bool:
    return span.seen is not Seen.GREEN


def _held(span: Span, sustain: timedelta) -> bool:
    return span.seen is Seen.GREEN and span.length >= sustain


def outage(
    samples: Sequence[Sample],
    fault: datetime | None,
    *,
    visible: datetime | None,
    until: datetime | None = None,
) -> timedelta | None:
    """First red → client visible. Null when its begin or its end is unknown, or nobody looked."""
    seen = spans(samples, since=fault, until=until)
    bad = [s for s in seen if _is_bad(s)]
    if not bad:
        return ZERO if seen else None
    if visible is None or (fault is None and _is_bad(seen[0])):
        return None
    return visible - bad[0].start


def actual_rto(clocks: Clocks) -> timedelta | None:
    """Fault → the later of validated and client visible."""
    if clocks.fault is None or clocks.validated is None or clocks.client_visible is None:
        return None
    return max(clocks.validated, clocks.client_visible) - clocks.fault


def rto_at_least(clocks: Clocks, *, mode: Mode, until: datetime) -> timedelta | None:
    """What the RTO cannot be below while it is unknown: from the fault, or from the start of an incident.

    *until* = the last instant of a run that did not get so far as validated.
    """
    began = clocks.fault or (clocks.started if mode is Mode.INCIDENT else None)
    if began is None or actual_rto(clocks) is not None:
        return None
    back = [at for at in (clocks.validated, clocks.client_visible) if at is not None]
    end = max(back) if clocks.validated else until
    return max(end - began, ZERO)


def recovery_time(clocks: Clocks, impact: Impact) -> timedelta | None:
    """What is held against the RTO: in a sandbox the time from declared to validated, else the actual RTO."""
    if impact is not Impact.SANDBOX:
        return actual_rto(clocks)
    if clocks.declared is None or clocks.validated is None:
        return None
    return clocks.validated - clocks.declared


def human_wait(clocks: Clocks) -> timedelta | None:
    """Declared → decided. A drill is decided before it is declared: nothing waited for a person."""
    if clocks.declared is None or clocks.decided is None:
        return None
    return max(clocks.decided - clocks.declared, ZERO)


def loss(stores: Sequence[StoreLoss]) -> Loss:
    """The worst store; null while one whose loss was not measured may be worse than all that were."""
    measured = max((s for s in stores if s.rpo_seconds is not None), key=lambda s: s.rpo_seconds or 0, default=None)
    hidden = [s for s in stores if s.rpo_seconds is None and not _is_covered(s, measured)]
    bounds = [s.rpo_seconds if s.bound_seconds is None else s.bound_seconds for s in stores]
    return Loss(
        rpo=None if measured is None or hidden else _seconds(measured.rpo_seconds),
        bound=None if None in bounds else _seconds(max((b for b in bounds if b is not None), default=None)),
        lost=_total(stores, lambda s: s.lost),
        given_up=_total(stores, lambda s: s.given_up),
    )


def _is_covered(store: StoreLoss, measured: StoreLoss | None) -> bool:
    """It lost no more than the measured one: its bound says so, or both went back to the same backup.

    A measured store that lost nothing tells nothing of another one: it may just not have been written to.
    """
    if measured is None or measured.rpo_seconds is None:
        return False
    if store.bound_seconds is not None and store.bound_seconds <= measured.rpo_seconds:
        return True
    backups = [(s.backup or {}).get("name") for s in (store, measured)]
    return measured.rpo_seconds > 0 and backups[0] is not None and backups[0] == backups[1]


def _seconds(value: float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)


def _total(stores: Sequence[StoreLoss], of: Callable[[StoreLoss], int | None]) -> int | None:
    """Markers only: cluster objects are counted in objects."""
    counts = [n for n in map(of, (s for s in stores if not s.name.startswith("cluster_objects:"))) if n is not None]
    return sum(counts) if counts else None


def is_met(target_seconds: float | None, actual_seconds: float | None, *, at_least: float | None = None) -> bool | None:
    """Null = it cannot be told. What is known to have lasted longer than the target is missed."""
    if target_seconds is None:
        return None
    if actual_seconds is not None:
        return actual_seconds <= target_seconds
    return False if at_least is not None and at_least > target_seconds else None
