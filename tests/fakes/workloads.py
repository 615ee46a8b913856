"""Deployments, ReplicaSets, StatefulSets and DaemonSets: they make, adopt and remove pods."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

from tests.fakes.admission import on_create
from tests.fakes.core import Core
from tests.fakes.kinds import CLAIMS, DAEMON_SETS, DEPLOYMENTS, PODS, REPLICA_SETS, REVISIONS, STATEFUL_SETS, Resource
from tests.fakes.selectors import labels_of, matches
from tests.fakes.statuses import ApiError
from tests.fakes.store import Object, copied

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"


def reconcile(core: Core) -> None:
    for one in core.store.list(DEPLOYMENTS):
        if not one["metadata"].get("deletionTimestamp"):
            _deployment(core, one)
    for one in core.store.list(REPLICA_SETS):
        _replica_set(core, one)
    for one in core.store.list(STATEFUL_SETS):
        _stateful_set(core, one)
    for one in core.store.list(DAEMON_SETS):
        _daemon_set(core, one)


def owner(obj: Object, resource: Resource) -> Object:
    meta = obj["metadata"]
    return {"apiVersion": resource.api_version, "kind": resource.kind, "name": meta["name"], "uid": meta["uid"],
            "controller": True, "blockOwnerDeletion": True}  # fmt: skip


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return not pod["metadata"].get("deletionTimestamp") and any(
        one["type"] == "Ready" and one["status"] == "True" for one in conditions
    )


def _adopted(core: Core, parent: Object, of: Resource, children: Resource) -> list[Object]:
    """The children that *parent* controls, after it took in those without a controller that its selector matches."""
    meta, owned = parent["metadata"], []
    for child in core.store.list(children, meta["namespace"]):
        controllers = [one for one in child["metadata"].get("ownerReferences", []) if one.get("controller")]
        if controllers:
            owned += [child] if controllers[0]["uid"] == meta["uid"] else []
        elif _is_orphan_of(parent, of, child):
            owned.append(core.store.amend(children, child, lambda new: _own(new, owner(parent, of))))
    return owned


def _is_orphan_of(parent: Object, of: Resource, child: Object) -> bool:
    """A StatefulSet knows its pods by their names, too."""
    matched = matches(parent["spec"]["selector"], labels_of(child)) and not child["metadata"].get("deletionTimestamp")
    return matched and (of != STATEFUL_SETS or child["metadata"]["name"].startswith(parent["metadata"]["name"] + "-"))


def _own(obj: Object, by: Object) -> None:
    obj["metadata"].setdefault("ownerReferences", []).append(by)


def _deployment(core: Core, one: Object) -> None:
    sets = _adopted(core, one, DEPLOYMENTS, REPLICA_SETS)
    wanted, current = one["spec"]["replicas"], _current_set(one, sets)
    if current is None:
        current = _new_set(core, one, 1 + max((_revision(each) for each in sets), default=0))
        sets.append(current)
    _scale(core, current, wanted)
    ready = current.get("status", {}).get("readyReplicas", 0)
    for old in sets:
        if old["metadata"]["uid"] != current["metadata"]["uid"] and ready >= wanted:
            _scale(core, old, 0)
    revision = str(_revision(current))
    core.store.amend(DEPLOYMENTS, one, lambda new: _deployment_status(new, sets, ready, revision))


def _deployment_status(new: Object, sets: list[Object], ready: int, revision: str) -> None:
    new["metadata"].setdefault("annotations", {})[REVISION] = revision
    wanted = new["spec"]["replicas"]
    total = sum(each.get("status", {}).get("replicas", 0) for each in sets)
    counts = {"replicas": total, "updatedReplicas": total, "readyReplicas": ready, "availableReplicas": ready,
              "unavailableReplicas": max(wanted - ready, 0)}  # fmt: skip
    enough, word = ("True", "A") if ready >= wanted - wanted // 4 else ("False", "Una")
    conditions = [
        {"type": "Available", "status": enough, "reason": f"MinimumReplicas{word}vailable"},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
        *(condition for each in sets for condition in each.get("status", {}).get("conditions", ())),
    ]
    kept = {key: value for key, value in counts.items() if value}
    new["status"] = {"observedGeneration": new["metadata"]["generation"], "conditions": conditions} | kept


def _revision(one: Object) -> int:
    return int((one["metadata"].get("annotations") or {}).get(REVISION, "0"))


def _current_set(deployment: Object, sets: list[Object]) -> Object | None:
    wanted = _without_hash(deployment["spec"]["template"])
    return next((each for each in sets if _without_hash(each["spec"]["template"]) == wanted), None)


def _without_hash(template: Object) -> Object:
    plain = copied(template)
    (plain.get("metadata", {}).get("labels") or {}).pop(HASH, None)
    return plain


def _short(of: Any) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:10]


def _new_set(core: Core, one: Object, revision: int) -> Object:
    meta, template = one["metadata"], copied(one["spec"]["template"])
    mark = _short(template)
    labels = template["metadata"].setdefault("labels", {})
    labels[HASH] = mark
    selector = copied(one["spec"]["selector"])
    selector.setdefault("matchLabels", {})[HASH] = mark
    new = {
        "metadata": {
            "name": f"{meta['name']}-{mark}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": {REVISION: str(revision)},
            "ownerReferences": [owner(one, DEPLOYMENTS)],
        },
        "spec": {"replicas": one["spec"]["replicas"], "selector": selector, "template": template},
        "status": {"replicas": 0},
    }
    return core.store.create(REPLICA_SETS, new, manager="kube-controller-manager")


def _scale(core: Core, one: Object, replicas: int) -> None:
    core.store.amend(REPLICA_SETS, one, lambda new: new["spec"].update(replicas=replicas))


def _replica_set(core: Core, one: Object) -> None:
    meta, wanted = one["metadata"], one["spec"]["replicas"]
    alive = [pod for pod in _adopted(core, one, REPLICA_SETS, PODS) if not pod["metadata"].get("deletionTimestamp")]
    for pod in sorted(alive, key=is_ready)[: max(len(alive) - wanted, 0)]:
        core.store.begin_deletion(PODS, pod, grace_seconds=30)
        alive.remove(pod)
    refused: list[Object] = []
    while len(alive) < wanted:
        name = {"generateName": meta["name"] + "-"}
        try:
            alive.append(_new_pod(core, one, REPLICA_SETS, one["spec"]["template"], name))
        except ApiError as error:
            refused = [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": str(error)}]
            break
    ready = sum(map(is_ready, alive))
    counts = {"replicas": len(alive), "fullyLabeledReplicas": len(alive), "readyReplicas": ready,
              "availableReplicas": ready, "observedGeneration": meta["generation"],
              **({"conditions": refused} if refused else {})}  # fmt: skip
    core.store.amend(REPLICA_SETS, one, lambda new: new.update(status=counts))


def _new_pod(core: Core, parent: Object, of: Resource, template: Object, name: Object) -> Object:
    made = copied(template)
    new = {
        "metadata": made.get("metadata", {}) | name | {
            "namespace": parent["metadata"]["namespace"],
            "ownerReferences": [owner(parent, of)],
        },
        "spec": made["spec"],
    }  # fmt: skip
    on_create(core.store, PODS, new)
    return core.store.create(PODS, new, manager="kube-controller-manager")


def _stateful_set(core: Core, one: Object) -> None:
    if one["metadata"].get("deletionTimestamp"):
        return
    meta, wanted = one["metadata"], one["spec"]["replicas"]
    mark = _short(one["spec"]["template"])
    _revision_object(core, one, mark)
    pods = {pod["metadata"]["name"]: pod for pod in _adopted(core, one, STATEFUL_SETS, PODS)}
    for number in range(wanted):
        pod = pods.get(f"{meta['name']}-{number}")
        if pod is None:
            with contextlib.suppress(ApiError):  # tried again with the next look
                _claims_of(core, one, number)
                pods[f"{meta['name']}-{number}"] = _ordinal(core, one, number, mark)
            break
        if not is_ready(pod):
            break
    for number in range(wanted, wanted + len(pods)):
        if pod := pods.get(f"{meta['name']}-{number}"):
            core.store.begin_deletion(PODS, pod, grace_seconds=30)
    ready = sum(map(is_ready, pods.values()))
    counts = {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": len(pods),
              "currentReplicas": len(pods), "currentRevision": f"{meta['name']}-{mark}",
              "updateRevision": f"{meta['name']}-{mark}", "observedGeneration": meta["generation"],
              "collisionCount": 0}  # fmt: skip
    core.store.amend(STATEFUL_SETS, one, lambda new: new.update(status=counts))


def _revision_object(core: Core, one: Object, mark: str) -> None:
    meta = one["metadata"]
    _adopted(core, one, STATEFUL_SETS, REVISIONS)  # those that Velero brought back
    if core.store.find(REVISIONS, meta["namespace"], f"{meta['name']}-{mark}"):
        return
    new = {
        "metadata": {"name": f"{meta['name']}-{mark}", "namespace": meta["namespace"],
                     "labels": one["spec"]["template"]["metadata"].get("labels", {}),
                     "ownerReferences": [owner(one, STATEFUL_SETS)]},
        "data": {"spec": {"template": one["spec"]["template"]}},
        "revision": 1,
    }  # fmt: skip
    core.store.create(REVISIONS, new, manager="kube-controller-manager")


def _claims_of(core: Core, one: Object, number: int) -> None:
    for template in one["spec"].get("volumeClaimTemplates", []):
        namespace = one["metadata"]["namespace"]
        name = f"{template['metadata']['name']}-{one['metadata']['name']}-{number}"
        if core.store.find(CLAIMS, namespace, name) is None:
            labels = one["spec"]["selector"].get("matchLabels", {})
            meta = {"name": name, "namespace": namespace, "labels": labels}
            claim = {"metadata": meta, "spec": copied(template["spec"])}
            on_create(core.store, CLAIMS, claim)
            core.store.create(CLAIMS, claim, manager="kube-controller-manager")


def _ordinal(core: Core, one: Object, number: int, mark: str) -> Object:
    name, template = f"{one['metadata']['name']}-{number}", copied(one["spec"]["template"])
    template["metadata"].setdefault("labels", {}).update({
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(number),
        "controller-revision-hash": f"{one['metadata']['name']}-{mark}",
    })  # fmt: skip
    for claim in one["spec"].get("volumeClaimTemplates", []):
        volume = claim["metadata"]["name"]
        bound = {"claimName": f"{volume}-{name}"}
        template["spec"].setdefault("volumes", []).append({"name": volume, "persistentVolumeClaim": bound})
    return _new_pod(core, one, STATEFUL_SETS, template, {"name": name})


def _daemon_set(core: Core, one: Object) -> None:
    if one["metadata"].get("deletionTimestamp"):
        return
    pods = [pod for pod in _adopted(core, one, DAEMON_SETS, PODS) if not pod["metadata"].get("deletionTimestamp")]
    if not pods:
        name = {"generateName": one["metadata"]["name"] + "-"}
        pods.append(_new_pod(core, one, DAEMON_SETS, one["spec"]["template"], name))
    ready = sum(map(is_ready, pods))
    counts = {"currentNumberScheduled": 1, "desiredNumberScheduled": 1, "numberMisscheduled": 0, "numberReady": ready,
              "numberAvailable": ready, "updatedNumberScheduled": 1,
              "observedGeneration": one["metadata"]["generation"]}  # fmt: skip
    core.store.amend(DAEMON_SETS, one, lambda new: new.update(status=counts))
