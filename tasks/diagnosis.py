"""What is the matter, and what is done about it: an incident looks before it changes anything. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbooks import compare, kube
from runbooks.compare.comparison import ABSENT, MISSING, PRESENT
from runbooks.errors import DryRunEnded, Refused
from runbooks.model import Json, Model, rfc3339
from runbooks.records import Consent, KubeObject, Snapshot
from runbooks.records import State as Recorded
from runbooks.render import plan as words
from tasks import (
    incident_plans,
    kept_volumes,
    namespaces,
    obstacles,
    pieces,
    plans,
    probes,
    questions,
    readiness,
    rights,
)
from tasks.backups import Choice
from tasks.cases import Case
from tasks.clients import artifacts
from tasks.clients.kubernetes import Api, Right
from tasks.incident_plans import ASKS_FOR, Diagnosis, Held, State, Way
from tasks.obstacles import Controller
from tasks.plans import BackupRecord
from tasks.steps import step
from tasks.waits import NotYet

SHOWN = 20
CLAIM = "PersistentVolumeClaim"


class Seen(Model):
    """The first look: each namespace with its UID (null: it is gone), and since when clients see red."""

    namespaces: dict[str, str | None]
    red: tuple[str, ...]


@step
def look(case: Case) -> Seen:
    """What is there of each namespace, what clients see, and when it broke (clock `fault`), as far as that is known.

    Reads only.
    """
    if (fault := probes.fault(case)) is not None:
        case.clock("fault", fault)
    snapshots = case.load("before", Recorded).namespaces
    red = tuple(sorted({reply.probe.name + ": " + reply.why for reply in _asked(case) if reply.why is not None}))
    for one in snapshots:
        case.event(f"namespace {one.namespace}: {_first_look(one)}")
    case.event(f"clients see red: {'; '.join(red)}" if red else "clients see green")
    return Seen(namespaces={one.namespace: one.uid for one in snapshots}, red=red)


def _asked(case: Case) -> Sequence[questions.Reply]:
    return questions.ask_all(case.application, case.site.dns)


def _first_look(snapshot: Snapshot) -> str:
    if snapshot.uid is None:
        return State.GONE
    own = _own(snapshot)
    return State.TERMINATING if own is not None and namespaces.is_going(own.body) else f"there, {snapshot.uid}"


def _own(snapshot: Snapshot) -> KubeObject | None:
    return next((o for o in snapshot.objects if (o.kind, o.name) == ("Namespace", snapshot.namespace)), None)


@step
def make_plan(case: Case) -> tuple[Diagnosis, ...]:
    """The plan is in the journal: what was found, which backup and why, what is created, what is in the way, the loss.

    Raises:
        Refused: nothing is the matter; or what must be done needs a consent that was not given.
        DryRunEnded: a dry run ends here, having changed nothing.
    """
    record, seen = (
        case.load("backup", BackupRecord),
        Seen.model_validate((case.recorded("diagnosis.look") or {})["evidence"]),
    )
    with case.connect() as api:
        found = tuple(_diagnosed(case, api, record, one, seen.red) for one in case.load("before", Recorded).namespaces)
        working_against = obstacles.controllers(case, api)
        wanted = list(_rights(case, api, record, found, working_against))
        old = [kept_volumes.named(v).told for v in kept_volumes.of(api, [o.namespace for o in found if o.is_restored])]
    pauses = [one for one in working_against if one.is_active]
    needs = sorted(
        {ASKS_FOR[one.way] for one in found if one.way in ASKS_FOR} | ({Consent.PAUSE_GITOPS} if pauses else set())
    )
    plans.note(
        case,
        case.load("choice", Choice),
        record,
        diagnosis=[one.model_dump(mode="json") for one in found],
        creates=[label for one in found for label in incident_plans.created(record, one)],
        in_the_way=[
            *_in_the_way(found),
            *(one.label + ("" if one.is_active else " (paused)") for one in working_against),
            *obstacles.operators(record.objects),
        ],
        pauses=[one.model_dump(mode="json") for one in pauses],
        keeps=list[Json](old),
        expected_loss=incident_plans.losses(case, record, found),
        eta=incident_plans.eta(case),
        fault=rfc3339(fault) if (fault := case.clock_of("fault")) else None,
        needs_consent=list(needs),
    )  # fmt: skip
    lines = words.lines(case.plan)
    for line in lines:
        case.event(line)
    artifacts.show_plan(case.run_id, lines)
    _must_be_needed(case, found)
    _must_be_consented(case, needs)
    with case.connect() as api:
        rights.must_be_granted_for_plan(api, wanted)
    if case.attempt.dry_run:
        raise DryRunEnded("dry run: the plan is made, nothing was changed", "to carry it out leave out --dry-run")
    return found


def _rights(
    case: Case, api: Api, record: BackupRecord, found: Sequence[Diagnosis], controllers: Sequence[Controller]
) -> Iterator[Right]:
    """What this plan needs besides what every run does."""
    names = {(r.api_version, r.kind): r.label for r in api.discovered.resources}
    volumes = kept_volumes.of(api, [one.namespace for one in found if one.is_restored])
    if any(volume["spec"]["persistentVolumeReclaimPolicy"] != "Retain" for volume in volumes):
        yield Right("patch", "persistentvolumes")
    for one in found:
        if one.way is Way.SET_ASIDE:
            yield Right("delete", "namespaces")
        if one.way is Way.PIECES:
            yield from pieces.rights(case, api, record, one)
        for held in one.held:
            name = names.get((held.api_version, held.kind), "namespaces")
            yield from (Right(verb, name, one.namespace) for verb in ("get", "patch"))
    for controller in (c for c in controllers if c.is_active):
        name = names[controller.api_version, controller.kind]
        yield from (Right(verb, name, controller.namespace) for verb in ("get", "patch"))


def _in_the_way(found: Sequence[Diagnosis]) -> Iterator[str]:
    for one in found:
        if one.way is Way.SET_ASIDE:
            yield f"Namespace/{one.namespace} ({one.uid}): deleted, its volumes kept"
        yield from (held.told for held in one.held)


def _must_be_needed(case: Case, found: Sequence[Diagnosis]) -> None:
    if all(one.way is Way.NOTHING for one in found):
        raise Refused(
            f"nothing is the matter with {case.application.name}: all that backup "
            f"{case.load('backup', BackupRecord).backup.name} holds is there, ready, and clients see green",
            "is it another application? if its data is wrong, go back to a backup: --backup B --consent set-aside",
        )


def _must_be_consented(case: Case, needs: Sequence[Consent]) -> None:
    missing = [one for one in needs if one not in case.request.consent]
    if missing:
        told = {
            Consent.SET_ASIDE: "the namespace that is there is deleted (its volumes are kept)",
            Consent.REMOVE_FINALIZERS: "finalizers that hold the namespace are removed",
            Consent.PAUSE_GITOPS: "GitOps controllers that work on the namespace are paused",
        }
        raise Refused(
            f"the plan needs consent: {'; '.join(told[one] for one in missing)}",
            "read the plan in the report, then start again with " + " ".join(f"--consent {one}" for one in missing),
        )


# -- one namespace ----------------------------------------------------------------------------------------------------


def _diagnosed(case: Case, api: Api, record: BackupRecord, now_there: Snapshot, red: Sequence[str]) -> Diagnosis:
    own = _own(now_there)
    if own is None:
        return Diagnosis(namespace=now_there.namespace, uid=None, state=State.GONE, way=Way.RESTORE)
    if namespaces.is_going(own.body):
        return _going(now_there, own)
    return _present(case, api, record, now_there, red)


def _going(snapshot: Snapshot, own: KubeObject) -> Diagnosis:
    held = tuple(_held(snapshot))
    return Diagnosis(
        namespace=snapshot.namespace,
        uid=snapshot.uid,
        state=State.TERMINATING,
        way=Way.FREE if held else Way.WAIT,
        why=namespaces.conditions(own.body),
        held=held,
    )


def _held(snapshot: Snapshot) -> Iterator[Held]:
    """What is being deleted and waits for a finalizer that Kubernetes itself will not remove."""
    for thing in snapshot.objects:
        meta = kube.table(thing.body.get("metadata"))
        marks = kube.finalizers(thing.body)
        if marks and meta.get("deletionTimestamp"):
            yield Held(
                api_version=thing.api_version, kind=thing.kind, name=thing.name, uid=str(thing.uid), finalizers=marks
            )


def _present(case: Case, api: Api, record: BackupRecord, snapshot: Snapshot, red: Sequence[str]) -> Diagnosis:
    name = snapshot.namespace
    wanted = incident_plans.restorable(record, name)
    expected = [o for o in record.objects if kube.key(o).namespace == name or (o.kind, o.name) == ("Namespace", name)]
    found = compare.objects(expected, snapshot.objects)
    absent = {d.where for d in found.differences if (d.expected, d.observed) == (PRESENT, MISSING)}
    lost = _lost_claims(snapshot)
    missing = tuple(o.label for o in wanted if o.label in absent or o.label in lost)
    different = [
        f"{d.where}: {d.observed} instead of {d.expected}"
        for d in found.differences
        if d.where not in absent and (d.expected, d.observed) != (ABSENT, PRESENT)  # what is new is not wrong
    ]
    why = (*_unready(case, api), *red, *different[:SHOWN])
    state, way = _judged(case, missing, why)
    return Diagnosis(namespace=name, uid=snapshot.uid, state=state, way=way, why=why, missing=missing)


def _judged(case: Case, missing: Sequence[str], why: Sequence[str]) -> tuple[State, Way]:
    """A lost volume comes back with the pods that mount it only: then all is restored. Else nothing more is touched."""
    if missing:
        claims = any(label.startswith(f"{CLAIM}/") for label in missing)
        return State.HALF_THERE, Way.SET_ASIDE if claims else Way.PIECES
    insists = case.request.backup is not None and Consent.SET_ASIDE in case.request.consent
    if why or insists:
        return State.WRONG, Way.SET_ASIDE
    return State.WELL, Way.NOTHING


def _lost_claims(snapshot: Snapshot) -> set[str]:
    """Claims that are there by name, but without their volume, or going."""
    claims = [o for o in snapshot.objects if o.kind == CLAIM]
    return {o.label for o in claims if kube.at(o.body, "status", "phase") == "Lost" or namespaces.is_going(o.body)}


def _unready(case: Case, api: Api) -> Iterator[str]:
    seen = readiness.look(api, case.application, case.load("before", Recorded).namespaces)
    if isinstance(seen, NotYet):
        yield seen.seen
