"""RTO and RPO: the targets, what usually reaches them, and whether a site's schedules can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from runbooks.model import Duration, Model, spell

if TYPE_CHECKING:
    from runbooks.application import Application, Schedule
    from runbooks.site import Site


class Objectives(Model):
    rto: Duration
    rpo: Duration


DEFAULTS: dict[str, Objectives] = {
    "pod-loss": Objectives(rto=timedelta(minutes=5), rpo=timedelta()),
    "deployment-deletion": Objectives(rto=timedelta(minutes=30), rpo=timedelta(minutes=30)),
    "namespace-deletion": Objectives(rto=timedelta(hours=2), rpo=timedelta(minutes=30)),
    "database-corruption": Objectives(rto=timedelta(hours=1), rpo=timedelta(minutes=5)),
    "file-restore": Objectives(rto=timedelta(hours=2), rpo=timedelta(hours=24)),
    "cluster-loss": Objectives(rto=timedelta(hours=4), rpo=timedelta(minutes=30)),
    "region-failover": Objectives(rto=timedelta(hours=8), rpo=timedelta()),
}
BROUGHT_BACK_BY: dict[str, str | None] = {
    "pod-loss": None,
    "deployment-deletion": "velero",
    "namespace-deletion": "velero",
    "database-corruption": "pgbackrest",
    "file-restore": "restic",
    "cluster-loss": "velero",
    "region-failover": "replication",
}
"""The kind of schedule whose age is the loss; replication does not help where it repeats the deletion."""


class Protection(Model):
    """A way to protect an application, and what it usually reaches."""

    reaches: Objectives
    technique: str
    cost: str

    def meets(self, wanted: Objectives) -> bool:
        return self.reaches.rto <= wanted.rto and self.reaches.rpo <= wanted.rpo


PROTECTIONS = (
    Protection(
        reaches=Objectives(rto=timedelta(hours=24), rpo=timedelta(hours=24)), technique="daily backup", cost="low"
    ),
    Protection(
        reaches=Objectives(rto=timedelta(hours=4), rpo=timedelta(hours=1)),
        technique="hourly backup + fast restore",
        cost="medium",
    ),
    Protection(
        reaches=Objectives(rto=timedelta(hours=1), rpo=timedelta(minutes=15)),
        technique="continuous replication + automatic failover",
        cost="high",
    ),
    Protection(
        reaches=Objectives(rto=timedelta(minutes=5), rpo=timedelta()),
        technique="synchronous multi-region",
        cost="very high",
    ),
)
"""Cheapest first."""


class Judgement(Model):
    """One application in one scenario: what it wants, needs and has. `disagreements` empty: they fit."""

    application: str
    scenario: str
    wanted: Objectives
    needs: Protection | None
    has: Protection | None
    best_rpo: Duration | None
    disagreements: tuple[str, ...]
    alone: tuple[str, ...]


def cheapest(wanted: Objectives) -> Protection | None:
    """The cheapest way that meets both; None when even the dearest does not."""
    return next((p for p in PROTECTIONS if p.meets(wanted)), None)


def judge(site: Site) -> tuple[Judgement, ...]:
    """Each application in each scenario that it has objectives for or may be drilled in; in all, when it names none.

    Where it has files on hosts, losing them is a scenario, too.
    """
    return tuple(
        _judge(application, scenario) for application in site.applications for scenario in _scenarios(application)
    )


def _scenarios(application: Application) -> tuple[str, ...]:
    named = dict.fromkeys((*application.objectives, *application.drills.scenarios))
    of_files = ("file-restore",) if application.file_sets else ()
    every = tuple(s for s in DEFAULTS if s != "file-restore")
    return tuple(dict.fromkeys((*(named or every), *of_files)))


def _judge(application: Application, scenario: str) -> Judgement:
    wanted = application.objectives.get(scenario, DEFAULTS[scenario])
    kind = BROUGHT_BACK_BY[scenario]
    schedules = [s for s in application.schedules if s.kind == kind]
    best = _best_rpo(application, kind, schedules)
    has = _given(application, kind, best)
    return Judgement(
        application=application.name,
        scenario=scenario,
        wanted=wanted,
        needs=cheapest(wanted),
        has=has,
        best_rpo=best,
        disagreements=() if kind is None else tuple(_disagreements(wanted, has, best, kind)),
        alone=tuple(_alone(schedules, wanted)),
    )


def _best_rpo(application: Application, kind: str | None, schedules: Sequence[Schedule]) -> timedelta | None:
    """The least that can be lost; None when nothing brings it back, or nobody can say."""
    if kind == "replication":
        return timedelta() if application.replication == "synchronous" else None
    return min((s.every for s in schedules), default=None)


def _given(application: Application, kind: str | None, best: timedelta | None) -> Protection | None:
    """The row of the table that the actual schedules and replication amount to in this kind of disaster."""
    daily, hourly, continuous, synchronous = PROTECTIONS
    if kind == "replication":
        return {"none": None, "asynchronous": continuous, "synchronous": synchronous}[application.replication]
    return next((p for p in (hourly, daily) if best is not None and best <= p.reaches.rpo), None)


def _disagreements(wanted: Objectives, has: Protection | None, best: timedelta | None, kind: str) -> Iterator[str]:
    if kind == "replication" and has is None:
        yield "nothing is replicated to the other region, so a lost region takes all of it"
    elif best is None and kind == "replication":
        yield f"asynchronous replication cannot promise an RPO of {spell(wanted.rpo)}: its loss has no bound"
    elif best is None:
        yield f"no {kind} schedule protects it, so all of it would be lost"
    elif best > wanted.rpo:
        yield _cannot(best, wanted)
    if has is not None and has.reaches.rto > wanted.rto:
        yield (
            f"{has.technique} usually takes up to {spell(has.reaches.rto)}: "
            f"only a drill shows whether an RTO of {spell(wanted.rto)} is met"
        )


def _alone(schedules: Sequence[Schedule], wanted: Objectives) -> Iterator[str]:
    for schedule in schedules:
        if schedule.every > wanted.rpo:
            yield f"{schedule.name} alone: {_cannot(schedule.every, wanted)}"
        else:
            yield f"{schedule.name} alone: one every {spell(schedule.every)} can meet an RPO of {spell(wanted.rpo)}"


def _cannot(every: timedelta, wanted: Objectives) -> str:
    return f"a backup every {spell(every)} cannot meet an RPO of {spell(wanted.rpo)}"
