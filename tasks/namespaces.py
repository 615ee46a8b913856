"""Namespaces by UID: the same one, another one, going, gone."""

from __future__ import annotations

from datetime import timedelta

from runbooks.errors import NotRecovered, Refused
from runbooks.records import Severity, State
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Object
from tasks.made import find

NAMESPACE = ("v1", "Namespace")
CLAIM = ("v1", "PersistentVolumeClaim")
STUCK = ("NamespaceDeletionDiscoveryFailure", "NamespaceContentRemaining", "NamespaceFinalizersRemaining")


def uid(found: Object) -> str:
    return str(found["metadata"]["uid"])


def is_going(found: Object) -> bool:
    return "deletionTimestamp" in found["metadata"]


def present(api: Api, name: str) -> Object | None:
    return find(api, NAMESPACE, name)


def wait_until_gone(api: Api, name: str, planned: str, *, within: timedelta) -> Object | None:
    """The namespace with the UID *planned* is gone: None, or the other one that has taken its name.

    Raises:
        NotRecovered: it was still there when the time was up, with what it waits for.
    """
    last: Object | None = None
    for seen in api.follow(*NAMESPACE, name=name, within=within):
        last = seen.get(name)
        if last is None or uid(last) != planned:
            return last
    raise NotRecovered(
        f"namespace {name} was not gone within {within.total_seconds():.0f} s: {_waits_for(last)}",
        f"what holds it? kubectl get namespace {name} -o yaml; remove the finalizer it waits for, and start again",
    )


def _waits_for(found: Object | None) -> str:
    """The conditions that say why it is still there."""
    conditions = (found or {}).get("status", {}).get("conditions", ())
    said = [c.get("message", "") for c in conditions if c["type"] in STUCK and c["status"] == "True"]
    return "; ".join(said)[:256] or "it gives no reason"


def must_be_free(case: Case, api: Api, name: str) -> None:
    """Nothing lives where the restore writes: Velero would write old files over a volume in use and say Completed."""
    found = present(api, name)
    if found is not None and is_going(found):
        found = wait_until_gone(api, name, uid(found), within=case.within("restore"))
    if found is None:
        return
    planned = {s.namespace: s.uid for s in case.load("before", State).namespaces}
    if case.is_broken() and uid(found) == planned.get(name):
        raise Refused(
            f"namespace {name} is still the one of the plan, {uid(found)}; nothing was restored",
            "it was never deleted: is the journal of another cluster?",
        )
    bound = [c["metadata"]["name"] for c in api.list(*CLAIM, namespace=name) if c["status"].get("phase") == "Bound"]
    if bound:
        raise Refused(
            f"namespace {name} has bound volumes: {', '.join(sorted(bound))}; nothing was restored over them",
            "who made them? save what is in them, delete the namespace, and start again with the same run id",
        )
    case.finding(
        "namespace made again",
        name,
        Severity.YELLOW,
        f"somebody made namespace {name} ({uid(found)}) before it was restored",
        "does a GitOps controller or a person work against the restore? pause it",
    )


def conditions(found: Object) -> tuple[str, ...]:
    """What a namespace says that keeps it from going."""
    told = (found.get("status") or {}).get("conditions", ())
    return tuple(f"{c['type']}: {c.get('message', '')}" for c in told if c["type"] in STUCK and c["status"] == "True")
