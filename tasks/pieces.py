"""What is missing in a namespace that lives comes back, and nothing else is touched.

Velero has no filter by name, but leaves alone what is there: a Restore of the missing objects' kinds creates exactly
these, if the backup holds no other object of these kinds that is not there now. Never pods and claims: Velero would
write the backup's files over the volumes that live (measured). Where kinds do not hit exactly that, the objects are
created one by one from the backup's contents.
"""

from __future__ import annotations

import copy
from typing import Any

from runbooks import kube
from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.kube import Key
from runbooks.model import Json, now
from runbooks.records import KubeObject, State
from tasks import downloads, gate, made, restores
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Exists, Object, Right
from tasks.incident_plans import Diagnosis
from tasks.plans import BackupRecord
from tasks.restores import Restored

NEVER_BY_VELERO = {"Pod", "PersistentVolumeClaim", "PersistentVolume", "ReplicaSet", "ControllerRevision", "Job"}
"""They bring pods, and pods bring files."""
ONE_LIFE = ("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "selfLink",
            "deletionGracePeriodSeconds", "managedFields", "ownerReferences", "finalizers")  # fmt: skip
FIRST = ("ServiceAccount", "Secret", "ConfigMap", "Role", "RoleBinding", "Service")
"""What pods need is there before them."""


def bring_back(case: Case, api: Api, found: Diagnosis) -> Restored:
    """Every object that the plan names as missing is there, as it is in the backup; gated Services are closed.

    Changes: one Restore and what it brings back, or creates these objects.

    Raises:
        Refused: the namespace is another one than the planned, or the backup does not hold an object any more.
        NotRecovered: the Restore failed, or an object was refused.
    """
    _must_be_planned(api, found)
    record = case.load("backup", BackupRecord)
    kinds = exact_kinds(case, api, record, found)
    done = _restore(case, api, record, found, kinds) if kinds else _create_all(case, api, record, found)
    return done.model_copy(update={"by_object": found.missing})


def _must_be_planned(api: Api, found: Diagnosis) -> None:
    there = made.find(api, ("v1", "Namespace"), found.namespace)
    if there is None or there["metadata"]["uid"] != found.uid or "deletionTimestamp" in there["metadata"]:
        raise Refused(
            f"namespace {found.namespace} is not {found.uid} any more; nothing was created in it",
            "it changed since the plan was made: start a new run, which looks again",
        )


# -- by a Restore of their kinds --------------------------------------------------------------------------------------


def exact_kinds(case: Case, api: Api, record: BackupRecord, found: Diagnosis) -> tuple[str, ...]:
    """Velero's names of the kinds that are missing; none when a Restore of them would bring back something else."""
    held = {key: o for o in record.objects if (key := kube.key(o)).namespace == found.namespace}
    missing = {key for key, thing in held.items() if thing.label in found.missing}
    kinds = {(key.group, key.kind) for key in missing}
    if {kind for _, kind in kinds} & NEVER_BY_VELERO:
        return ()
    there = _there(case, found.namespace)
    brought = {key for key in held if (key.group, key.kind) in kinds and key not in there}
    names = {(r.group, r.kind): r.label for r in api.discovered.resources}
    return tuple(sorted(names[kind] for kind in kinds)) if brought == missing and kinds <= names.keys() else ()


def _there(case: Case, namespace: str) -> set[Key]:
    before: list[KubeObject] = [o for s in case.load("before", State).namespaces for o in s.objects]
    return {key for o in before if (key := kube.key(o)).namespace == namespace}


def _restore(case: Case, api: Api, record: BackupRecord, found: Diagnosis, kinds: tuple[str, ...]) -> Restored:
    spec: dict[str, Json] = {
        "backupName": record.backup.name,
        "includedNamespaces": [found.namespace],
        "includedResources": list(kinds),
        "includeClusterResources": False,
    }
    modifier = gate.modifier(case, api)
    if modifier is not None:
        spec["resourceModifier"] = {"kind": "configmap", "name": modifier}
    name = f"{case.name('pieces')}-{case.application.namespaces.index(found.namespace) + 1}"
    return restores.run(case, api, name, spec, within=case.within("restore"))


# -- one by one -------------------------------------------------------------------------------------------------------


def rights(case: Case, api: Api, record: BackupRecord, found: Diagnosis) -> list[Right]:
    """What the account must be allowed to create; nothing where Velero does it."""
    if exact_kinds(case, api, record, found):
        return []
    names = {(r.group, r.kind): r.label for r in api.discovered.resources}
    missing = {kube.key(o) for o in record.objects if o.label in found.missing and kube.key(o).namespace}
    wanted = sorted({names[key.group, key.kind] for key in missing if (key.group, key.kind) in names})
    return [Right(verb, name, found.namespace) for name in wanted for verb in ("get", "create")]


def _create_all(case: Case, api: Api, record: BackupRecord, found: Diagnosis) -> Restored:
    started_at = now()
    for body in _wanted(case, _contents(case, api, record), found):
        _create(case, api, body)
    return Restored(
        name=case.name("pieces"),
        backup=record.backup.name,
        phase="Completed",
        errors=0,
        warnings=0,
        started_at=started_at,
        completed_at=now(),
    )


def _wanted(case: Case, contents: bytes, found: Diagnosis) -> list[Object]:
    """In an order in which each finds what it needs."""
    wanted = {
        f"{body['kind']}/{body['metadata']['name']}": prepared(case, body)
        for body in downloads.objects(contents)
        if body["metadata"].get("namespace") == found.namespace
    }
    if absent := [label for label in found.missing if label not in wanted]:
        raise Refused(f"the backup does not hold {', '.join(absent)} any more", "was it altered? start a new run")
    return sorted((wanted[label] for label in found.missing), key=_rank)


def _rank(body: Object) -> tuple[int, str]:
    kind = body["kind"]
    return (FIRST.index(kind) if kind in FIRST else len(FIRST), kind)


def prepared(case: Case, body: Object) -> Object:
    """As it can be created anew: without what belongs to one life of it, and closed where a gate is."""
    new: dict[str, Any] = copy.deepcopy(dict(body))
    new.pop("status", None)
    metadata = {name: value for name, value in new["metadata"].items() if name not in ONE_LIFE}
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if not k.startswith("velero.io/")}
    new["metadata"] = metadata | {"labels": labels}
    if new["kind"] == "Service":
        _service(case, new, body)
    if new["kind"] == "Pod":
        new["spec"].pop("nodeName", None)
    return new


def _contents(case: Case, api: Api, record: BackupRecord) -> bytes:
    return downloads.fetch(case, api, "BackupContents", record.backup.name, within=downloads.patience(case))


def _service(case: Case, new: dict[str, Any], old: Object) -> None:
    """Addresses and ports that the cluster allocated are allocated again; those that a person wrote are kept."""
    spec = new["spec"]
    if spec.get("clusterIP") != "None":
        for name in ("clusterIP", "clusterIPs"):
            spec.pop(name, None)
    if not kube.asked_for_health_port(old):
        spec.pop("healthCheckNodePort", None)
    for port in spec.get("ports") or ():
        if not kube.asked_for_port(old, port):
            port.pop("nodePort", None)
    if (new["metadata"]["namespace"], new["metadata"]["name"]) in set(gate.services(case)):
        spec["selector"] = {**(spec.get("selector") or {}), gate.KEY: gate.CLOSED}


def _create(case: Case, api: Api, body: Object) -> None:
    """Sent once; one that is there by now is left as it is: a killed attempt made it, or somebody else did."""
    kind, name, namespace = (body["apiVersion"], body["kind"]), body["metadata"]["name"], body["metadata"]["namespace"]
    if made.find(api, kind, name, namespace) is not None:
        return
    case.write(f"create {kind[1]} {namespace}/{name}", kind=kind[1], namespace=namespace, name=name)
    try:
        api.create(*kind, body, namespace=namespace)
    except Exists:
        return
    except Unavailable:
        if made.find(api, kind, name, namespace) is None:
            raise
    except Refused as error:
        raise NotRecovered(
            f"{kind[1]} {namespace}/{name} of the backup was refused: {error.problem}",
            "what stands against it? create it by hand when that is mended, and start again with the same run id",
        ) from error
