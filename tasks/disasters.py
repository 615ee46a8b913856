"""The only module that breaks things. Every blow carries the UID it is meant for, and the API server checks it."""

from __future__ import annotations

import contextlib
from datetime import timedelta

from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.model import Model
from runbooks.records import State
from tasks import incident_plans, namespaces
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Conflict, Missing, Object
from tasks.incident_plans import Diagnosis, Held, Way
from tasks.made import RUN, find
from tasks.namespaces import NAMESPACE
from tasks.steps import step

LABEL = "dr-runbooks/drill"
TELLING = (("v1", "PersistentVolumeClaim"), ("v1", "Service"), ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"))
GONE_WITHIN = timedelta(minutes=10)
"""Longer than the budget of the phase: long grace periods and finalizers take their time, and the report shows it."""


class Deleted(Model):
    """The namespaces that are gone, with the UIDs that they had."""

    namespaces: dict[str, str]


@step
def delete_namespace(case: Case) -> Deleted:
    """The planned namespaces are gone: exactly those, known by UID.

    Changes: deletes each namespace of the application (clock `fault` just before the first).

    Raises:
        Refused: one of them is not the planned one, or does not allow drills; nothing was deleted.
        NotRecovered: one was still Terminating after 10 min, or was made again by somebody.
    """
    planned = {s.namespace: str(s.uid) for s in case.load("before", State).namespaces}
    with case.connect() as api:
        if case.clock_of("fault") is None:
            for name in planned:
                _must_be_planned(name, planned[name], namespaces.present(api, name))
        for name in planned:
            _delete(case, api, name, planned[name])
        for name in planned:
            _must_be_gone(name, namespaces.wait_until_gone(api, name, planned[name], within=GONE_WITHIN))
    return Deleted(namespaces=planned)


def _must_be_planned(name: str, planned: str, found: Object | None) -> None:
    if found is None:
        raise Refused(f"namespace {name} does not exist; nothing was deleted", "is this an incident? use that form")
    seen = namespaces.uid(found)
    if seen != planned:
        raise Refused(
            f"namespace {name} has UID {seen}, the drill was planned for {planned}; nothing was deleted",
            "was it recreated since? plan the drill again, or use the incident form",
        )
    if namespaces.is_going(found):
        raise Refused(f"somebody else is deleting namespace {name}; nothing was deleted", "is this an incident?")
    if (found["metadata"].get("labels") or {}).get(LABEL) != "allowed":
        raise Refused(
            f"namespace {name} has no label {LABEL}=allowed; nothing was deleted",
            f"whoever owns it allows drills by: kubectl label namespace {name} {LABEL}=allowed",
        )


def _not_the_same(name: str, planned: str) -> Refused:
    return Refused(
        f"namespace {name} is not {planned} any more; nothing was deleted",
        "was it recreated at this moment? plan the drill again",
    )


def _delete(case: Case, api: Api, name: str, planned: str) -> None:
    """Begun by this attempt or an earlier one; a killed attempt may have sent it or not."""
    found = namespaces.present(api, name)
    if found is None or namespaces.uid(found) != planned or namespaces.is_going(found):
        if case.clock_of("fault") is None:
            raise _not_the_same(name, planned)
        return
    case.write(f"delete namespace {name}", kind="Namespace", name=name, uid=planned)
    case.clock("fault")
    _send(api, name, planned)


def _send(api: Api, name: str, planned: str) -> None:
    """Sent once; when the answer is lost, the world says whether it was heard."""
    try:
        api.delete(*NAMESPACE, name, uid=planned)
    except Missing:
        return
    except Unavailable:
        found = namespaces.present(api, name)
        if found is not None and namespaces.uid(found) == planned and not namespaces.is_going(found):
            raise
    except Conflict as error:
        raise _not_the_same(name, planned) from error


def _must_be_gone(name: str, other: Object | None) -> None:
    if other is not None:
        raise NotRecovered(
            f"namespace {name} was deleted, and somebody made it again at once ({namespaces.uid(other)})",
            "does a GitOps controller or an operator keep it? pause it before a drill",
        )


# -- an incident: what is in the way ----------------------------------------------------------------------------------


class Room(Model):
    """What was taken out of the way, and the UIDs of the namespaces that are gone now."""

    finalizers_removed: tuple[str, ...]
    namespaces: dict[str, str]


@step
def make_room(case: Case) -> Room:
    """What the approved plan says is in the way of a restore is gone: exactly those objects, known by UID.

    Changes: removes the planned finalizers; deletes the planned namespaces, whose volumes are kept. Each with consent.

    Raises:
        Refused: there was no consent, or one of them is not the planned one; nothing was deleted.
        NotRecovered: a namespace was still Terminating when the time was up.
    """
    found = [one for one in incident_plans.diagnoses(case) if one.is_restored and one.uid is not None]
    for one in found:
        _must_be_consented(case, one)
    with case.connect() as api:
        for one in found:
            if one.way is Way.SET_ASIDE:
                _set_original_aside(case, api, one.namespace, str(one.uid))
        removed = [told for one in found for held in one.held if (told := _free(case, api, one.namespace, held))]
        for one in found:
            within = min(GONE_WITHIN, case.within("restore"))
            _must_be_gone(one.namespace, namespaces.wait_until_gone(api, one.namespace, str(one.uid), within=within))
    return Room(finalizers_removed=tuple(removed), namespaces={one.namespace: str(one.uid) for one in found})


def _must_be_consented(case: Case, one: Diagnosis) -> None:
    needed = incident_plans.ASKS_FOR.get(one.way)
    if needed is not None and needed not in case.request.consent:
        raise Refused(f"nobody consented to {needed} in namespace {one.namespace}", f"--consent {needed}")


def _set_original_aside(case: Case, api: Api, name: str, planned: str) -> None:
    found = namespaces.present(api, name)
    if found is None or (namespaces.uid(found) == planned and namespaces.is_going(found)):
        return
    if namespaces.uid(found) != planned:
        raise _not_the_same(name, planned)
    case.write(f"set namespace {name} aside: delete it, its volumes are kept", kind="Namespace", name=name, uid=planned)
    _send(api, name, planned)


def _free(case: Case, api: Api, namespace: str, held: Held) -> str | None:
    """Its planned finalizers are removed, of exactly this object and as long as they are what it had."""
    kind = (held.api_version, held.kind)
    where = None if held.kind == "Namespace" else namespace
    found = find(api, kind, held.name, where)
    if found is None or namespaces.uid(found) != held.uid:
        return None
    marks = found["metadata"].get("finalizers") or []
    left = [mark for mark in marks if mark not in held.finalizers]
    if left == marks:
        return None
    told = f"{held.kind} {namespace}/{held.name}: {', '.join(held.finalizers)}"
    case.write(f"remove finalizers of {told}", kind=held.kind, namespace=namespace, name=held.name, uid=held.uid)
    operations: list[Object] = [
        {"op": "test", "path": "/metadata/uid", "value": held.uid},
        {"op": "test", "path": "/metadata/finalizers", "value": marks},
        {"op": "replace", "path": "/metadata/finalizers", "value": left},
    ]
    with contextlib.suppress(Missing):
        api.json_patch(*kind, held.name, operations, namespace=where)
    return told


def set_aside(case: Case, namespace: str) -> None:
    """What a failed restore of this run left of *namespace* is gone, so that it can be built again.

    Raises:
        Refused: it is the original, or what is in it was not restored by this run.
        NotRecovered: it was still Terminating after 10 min.
    """
    with case.connect() as api:
        found = namespaces.present(api, namespace)
        if found is None:
            return
        uid = namespaces.uid(found)
        if not namespaces.is_going(found):
            _must_be_left_over(case, api, namespace, uid)
            what = f"delete what a failed restore left of namespace {namespace}"
            case.write(what, kind="Namespace", name=namespace, uid=uid)
            _send(api, namespace, uid)
        namespaces.wait_until_gone(api, namespace, uid, within=GONE_WITHIN)


def _must_be_left_over(case: Case, api: Api, namespace: str, uid: str) -> None:
    planned = {s.namespace: s.uid for s in case.load("before", State).namespaces}
    if uid == planned.get(namespace):
        raise Refused(f"namespace {namespace} is still the original ({uid}); it is kept", "is it broken at all?")
    ours = (case.name("restore"), case.name("net"))  # a later attempt's name begins with that of the first
    labels = [o["metadata"].get("labels") or {} for kind in TELLING for o in api.list(*kind, namespace=namespace)]
    if labels and not any(
        str(b.get("velero.io/restore-name", "")).startswith(ours) or b.get(RUN) == case.run_id for b in labels
    ):
        raise Refused(
            f"namespace {namespace} ({uid}) was not restored by run {case.run_id}; it is kept",
            "who made it? save what is in it, delete it, and start again with the same run id",
        )
