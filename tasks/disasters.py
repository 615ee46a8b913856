"""The only module that breaks things. Every blow carries the UID it is meant for, and the API server checks it."""

from __future__ import annotations

from datetime import timedelta

from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.model import Model
from runbooks.records import State
from tasks import backups, namespaces
from tasks.cases import Case
from tasks.clients import kubernetes
from tasks.clients.kubernetes import Api, Conflict, Missing, Object
from tasks.made import RUN
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
    with kubernetes.connect(case.cluster) as api:
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


def set_aside(case: Case, namespace: str) -> None:
    """What a failed restore of this run left of *namespace* is gone, so that it can be built again.

    Raises:
        Refused: it is the original, or what is in it was not restored by this run.
        NotRecovered: it was still Terminating after 10 min.
    """
    with kubernetes.connect(case.cluster) as api:
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
    ours = {backups.label(case.name("restore")), backups.label(case.name("net"))}
    labels = [o["metadata"].get("labels") or {} for kind in TELLING for o in api.list(*kind, namespace=namespace)]
    if labels and not any(b.get("velero.io/restore-name") in ours or b.get(RUN) == case.run_id for b in labels):
        raise Refused(
            f"namespace {namespace} ({uid}) was not restored by run {case.run_id}; it is kept",
            "who made it? save what is in it, delete it, and start again with the same run id",
        )
