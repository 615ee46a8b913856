"""The plan of an incident: what was found in each namespace, what is done about it, and what that costs.

It is made once, shown, and approved by its hash; everything after the approval reads it from the journal.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from runbooks import rules
from runbooks.errors import RecoveryError, Refused
from runbooks.kube import Side
from runbooks.model import Json, Model, now
from runbooks.records import Consent, KubeObject
from runbooks.report import Report
from runbooks.report import earlier as earlier_reports
from tasks import object_store
from tasks.cases import Case
from tasks.plans import BackupRecord

PHASE = "restore"
MOST_REPORTS = 20
"""Of another host's runs as many are read as tell how long it takes."""


class State(StrEnum):
    """What is the matter with a namespace."""

    GONE = "gone"
    TERMINATING = "terminating"
    HALF_THERE = "half there"
    WRONG = "there but wrong"
    WELL = "well"


class Way(StrEnum):
    """What is done about it."""

    RESTORE = "restore"
    WAIT = "wait until it is gone, then restore"
    FREE = "remove the finalizers that hold it, then restore"
    PIECES = "create what is missing"
    SET_ASIDE = "set aside, then restore"
    NOTHING = "leave alone"


RESTORES = (Way.RESTORE, Way.WAIT, Way.FREE, Way.SET_ASIDE)
ASKS_FOR = {Way.FREE: Consent.REMOVE_FINALIZERS, Way.SET_ASIDE: Consent.SET_ASIDE}


class Held(Model):
    """An object that is being deleted and waits for somebody to remove its finalizers."""

    api_version: str
    kind: str
    name: str
    uid: str
    finalizers: tuple[str, ...]

    @property
    def told(self) -> str:
        return f"{self.kind}/{self.name} waits for finalizer {', '.join(self.finalizers)}"


class Diagnosis(Model):
    """Of one namespace. `uid` is pinned: what has another one by then is not touched."""

    namespace: str
    uid: str | None
    state: State
    way: Way
    why: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()

    @property
    def is_restored(self) -> bool:
        return self.way in RESTORES


def diagnoses(case: Case) -> tuple[Diagnosis, ...]:
    """As planned. Raises: Refused: there is no plan."""
    for entry in case.journal.of("plan"):
        found = entry.data.get("diagnosis")
        return tuple(Diagnosis.model_validate(one) for one in found) if isinstance(found, list) else ()
    raise Refused(f"run {case.run_id} has no plan", "it is made before anything is changed; start a new run")


def restored_namespaces(case: Case) -> tuple[str, ...]:
    """Those that are restored as a whole: all of them in a drill, in an incident those that the plan says."""
    if case.is_drill:
        return case.application.namespaces
    return tuple(one.namespace for one in diagnoses(case) if one.is_restored)


def survives(case: Case, namespace: str) -> bool:
    """Is the namespace of before still the one that must be there after?"""
    return not case.is_drill and namespace not in restored_namespaces(case)


def created(record: BackupRecord, found: Diagnosis) -> tuple[str, ...]:
    """What will be there again that is not now; what controllers make by themselves left out."""
    if found.way is Way.PIECES:
        return found.missing
    return tuple(thing.label for thing in restorable(record, found.namespace)) if found.is_restored else ()


def restorable(record: BackupRecord, namespace: str) -> list[KubeObject]:
    """The objects of a backup in one namespace that nobody but a restore brings back."""
    side = Side(record.objects)
    return [
        thing
        for key, thing in side.by_key.items()
        if (key.namespace == namespace or (key.kind, key.name) == ("Namespace", namespace))
        and rules.object_reason(thing, side) is None
    ]


def losses(case: Case, record: BackupRecord, found: Sequence[Diagnosis]) -> dict[str, Json]:
    """What each store is expected to lose, in seconds: a volume all since the backup, what is not restored nothing."""
    restored = {one.namespace for one in found if one.is_restored}
    began = record.backup.started_at
    since = None if began is None else ((case.clock_of("fault") or now()) - began).total_seconds()
    lost: dict[str, Json] = {
        files.store: since if files.namespace in restored else 0.0 for files in case.application.files
    }
    lost |= {f"rows:{rows.database}": 0.0 for rows in case.application.rows}
    return lost | {
        f"cluster_objects:{name}": since if name in restored else 0.0 for name in case.application.namespaces
    }


def eta(case: Case) -> dict[str, Json]:
    """How long the restore took in earlier runs: the median; unknown when there was none."""
    took = sorted(_took(case))
    return {"seconds": round(statistics.median(took), 1) if took else None, "from_runs": len(took)}


def _took(case: Case) -> Iterator[float]:
    for report in _earlier(case):
        same = (report.site, report.scenario) == (case.site.name, case.scenario)
        if same and any(a.name == case.application.name for a in report.applications):
            yield from (p.seconds for p in report.phases if (p.name, p.status) == (PHASE, "done") and p.seconds)


def _earlier(case: Case) -> Iterable[Report]:
    """Those of this host, else those in the evidence store."""
    return earlier_reports(case.directory) or _stored(case)


def _stored(case: Case) -> list[Report]:
    try:
        store = object_store.connect(case.site.evidence.store)
        names = [name for name in store.list("runs/") if name.endswith("/report.json")][-MOST_REPORTS:]
        bodies = [found.body for name in names if (found := store.get(name)) is not None]
    except RecoveryError:
        return []
    return [report for body in bodies if (report := _read(body)) is not None]


def _read(body: bytes) -> Report | None:
    try:
        return Report.model_validate_json(body)
    except ValueError:
        return None
