"""How a namespace is restored beside the original so that nothing of it acts: the changes that Velero makes meanwhile.

One source for both sides: `rules` is what Velero applies to each object as it restores it, `expected` is what the
object must then look like. Pods are restored only so that Velero fills their volumes: each container becomes a holder,
a shell that sleeps, and before it starts every network device of the pod is taken down.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runbooks import kube
from runbooks.kube import at, items, table
from runbooks.model import Json
from runbooks.records import KubeObject

POD = "dr-runbooks/sandbox-pod"
HELD_POD = "dr-runbooks/held-pod"
CUT = "cut-network"
CUT_COMMAND = 'for i in /sys/class/net/*; do n=${i##*/}; [ "$n" = lo ] || ip link set "$n" down || exit 1; done'
HOLD_COMMAND = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
RUNS_NOWHERE = {"dr-runbooks/sandbox": "runs-nowhere"}
RESTORE_WAIT = "restore-wait"
LONGEST_LABEL = 63
INIT_HOOK = "init.hook.restore.velero.io/"
KINDS = {
    "ConfigMap": "configmaps", "Secret": "secrets", "ServiceAccount": "serviceaccounts", "Service": "services",
    "PersistentVolumeClaim": "persistentvolumeclaims", "Pod": "pods",
    "Deployment.apps": "deployments.apps", "StatefulSet.apps": "statefulsets.apps",
    "DaemonSet.apps": "daemonsets.apps", "CronJob.batch": "cronjobs.batch", "Job.batch": "jobs.batch",
    "Role.rbac.authorization.k8s.io": "roles.rbac.authorization.k8s.io",
    "RoleBinding.rbac.authorization.k8s.io": "rolebindings.rbac.authorization.k8s.io",
    "PodDisruptionBudget.policy": "poddisruptionbudgets.policy",
    "HorizontalPodAutoscaler.autoscaling": "horizontalpodautoscalers.autoscaling",
}  # fmt: skip
"""What a sandbox holds, by kind, as Velero calls it. All else stays out: Ingresses, custom resources, policies."""
EMPTIED = ("persistentVolumeClaim", "emptyDir", "ephemeral")
DROPPED = ("configMap", "secret", "projected", "downwardAPI", "hostPath")
SILENT: dict[str, Json] = {"annotations": None, "finalizers": None}
"""Annotations speak to controllers: they publish names, copy Secrets, run hooks. Finalizers wait for controllers."""
CHANGES: dict[str, dict[str, Json]] = {
    "ServiceAccount": {"automountServiceAccountToken": False},
    "PersistentVolumeClaim": {"spec": {"volumeName": None, "dataSource": None, "dataSourceRef": None}},
    "Deployment.apps": {"spec": {"replicas": 0}},
    "StatefulSet.apps": {"spec": {"replicas": 0}},
    "DaemonSet.apps": {"spec": {"template": {"spec": {"nodeSelector": dict[str, Json](RUNS_NOWHERE)}}}},
    "CronJob.batch": {"spec": {"suspend": True}},
    "Job.batch": {"spec": {"suspend": True}},
    "Service": {
        "spec": {
            "type": "ClusterIP", "externalIPs": None, "externalTrafficPolicy": None, "healthCheckNodePort": None,
            "loadBalancerIP": None, "loadBalancerClass": None, "loadBalancerSourceRanges": None,
            "allocateLoadBalancerNodePorts": None,
        }
    },
}  # fmt: skip


def holds(thing: KubeObject) -> bool:
    return kube.kind(thing) in KINDS


def is_compared(thing: KubeObject) -> bool:
    """Pods are other ones on purpose; a Service that names a host outside is only a name in the sandbox; the account
    `default` is there before Velero comes, and keeps what it is."""
    is_own = thing.kind == "ServiceAccount" and thing.name == "default"
    return holds(thing) and thing.kind != "Pod" and not _names_outside(thing) and not is_own


def rules(objects: Iterable[KubeObject], image: str, mark: str) -> dict[str, Json]:
    """Velero's resource modifiers for *objects* of a backup: by kind, and by name for pods and ports.

    *mark* is written onto each pod in place of its labels, so that no controller or Service takes it for its own.
    """
    found = [o for o in objects if holds(o)]
    spaces = sorted({kube.key(o).namespace for o in found})
    by_kind = [_rule(kind, "", spaces, "mergePatches", change) for kind, change in _by_kind()]
    return {"version": "v1", "resourceModifierRules": [*by_kind, *_by_name(found, image, mark)]}


def _by_kind() -> Iterator[tuple[str, dict[str, Json]]]:
    for kind in KINDS:
        if kind != "Pod":
            yield kind, _change(kind)


def _change(kind: str) -> dict[str, Json]:
    silent = {"annotations": None} if kind == "PersistentVolumeClaim" else SILENT
    return {"metadata": dict[str, Json](silent), **CHANGES.get(kind, {})}


def _by_name(objects: Iterable[KubeObject], image: str, mark: str) -> Iterator[Json]:
    for thing in objects:
        change: dict[str, Json] | None = None
        if thing.kind == "Pod" and not kube.is_finished(thing):
            change, how = pod(thing, image, mark), "strategicPatches"
        elif thing.kind == "Service":
            change, how = service(thing), "mergePatches"
        if change:
            yield _rule(kube.kind(thing), thing.name, [kube.key(thing).namespace], how, change)


def _rule(kind: str, name: str, namespaces: list[str], how: str, change: dict[str, Json]) -> Json:
    conditions: dict[str, Json] = {"groupResource": KINDS[kind], "namespaces": list[Json](namespaces)}
    if name:
        conditions["resourceNameRegex"] = f"^{name.replace('.', '[.]')}$"
    return {"conditions": conditions, how: [{"patchData": json.dumps(change)}]}


def service(thing: KubeObject) -> dict[str, Json] | None:
    """Its own change beyond that of its kind: no port of the nodes, no name outside."""
    if _names_outside(thing):
        return {"spec": {"externalName": None, "clusterIP": "None"}}
    ports = items(at(thing.body, "spec", "ports"))
    if not any("nodePort" in table(port) for port in ports):
        return None
    return {"spec": {"ports": [{k: v for k, v in table(port).items() if k != "nodePort"} for port in ports]}}


def _names_outside(thing: KubeObject) -> bool:
    return thing.kind == "Service" and at(thing.body, "spec", "type") == "ExternalName"


def expected(thing: KubeObject, namespaces: Mapping[str, str]) -> KubeObject:
    """As the object of the backup must be in the sandbox; *namespaces*: of the original → of the sandbox."""
    body = merged(thing.body, _change(kube.kind(thing)))
    body = merged(body, service(thing) or {}) if thing.kind == "Service" else body
    body["metadata"]["namespace"] = namespaces[kube.key(thing).namespace]
    for subject in items(body.get("subjects")):
        if isinstance(subject, dict) and subject.get("namespace") in namespaces:
            subject["namespace"] = namespaces[str(subject["namespace"])]
    return thing.model_copy(update={"body": body})


def merged(target: Any, patch: Any) -> Any:
    """A merge patch (RFC 7386) applied to a copy of *target*."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


# -- pods ---------------------------------------------------------------------------------------------------------


def obstacle(thing: KubeObject) -> str | None:
    """Why this pod of a backup cannot be restored beside the original without harm; None: it can."""
    for volume in map(table, items(at(thing.body, "spec", "volumes"))):
        if unknown := volume.keys() - {"name", *EMPTIED, *DROPPED}:
            return f"volume {volume.get('name')} is of kind {', '.join(sorted(unknown))}: it may be the original's own"
    if any(name.startswith(INIT_HOOK) for name in kube.notes(thing.body)):
        return "its annotations ask Velero for init containers of its own"
    return None


def pod(thing: KubeObject, image: str, mark: str) -> dict[str, Json]:
    """A strategic merge patch: the same volumes, and nothing else of what the pod was."""
    spec = table(thing.body.get("spec"))
    volumes = [table(v) for v in items(spec.get("volumes")) if _is_emptied(table(v))]
    kept = {str(v["name"]) for v in volumes}
    others = [str(table(c).get("name")) for c in items(spec.get("initContainers"))]
    gone: list[Json] = [{"name": name, "$patch": "delete"} for name in others if not name.startswith(RESTORE_WAIT)]
    holders: list[Json] = [holder(table(c), image, kept) for c in items(spec.get("containers"))]
    replace: dict[str, Json] = {"$patch": "replace"}  # of what is there: where nothing is, it keeps nothing (measured)
    no_labels: dict[str, Json] = dict.fromkeys(kube.labels(thing))
    off = (
        "hostNetwork", "hostPID", "hostIPC", "hostAliases", "hostname", "subdomain", "affinity", "priority",
        "priorityClassName", "preemptionPolicy", "topologySpreadConstraints", "readinessGates", "schedulingGates",
        "ephemeralContainers", "activeDeadlineSeconds", "runtimeClassName", "overhead", "resourceClaims",
    )  # fmt: skip
    return {
        "metadata": {"labels": {**no_labels, POD: mark, HELD_POD: _label(thing.name)}, **SILENT},
        "spec": {
            "containers": [replace, *holders],
            "initContainers": [*gone, cut(image)],
            **({"volumes": [replace, *(dict(v) for v in volumes)]} if spec.get("volumes") else {}),
            "automountServiceAccountToken": False, "enableServiceLinks": False,
            "serviceAccountName": "default", "serviceAccount": "default",
            "dnsPolicy": "None", "dnsConfig": {"nameservers": ["127.0.0.1"], "searches": None, "options": None},
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 1,
            **dict.fromkeys(off),
        },
    }  # fmt: skip


def _label(name: str) -> str:
    """A pod's name as the value of a label, which may be shorter."""
    return name if len(name) <= LONGEST_LABEL else hashlib.sha256(name.encode()).hexdigest()[:LONGEST_LABEL]


def _is_emptied(volume: Mapping[str, Json]) -> bool:
    return any(kind in volume for kind in EMPTIED)


def cut(image: str) -> dict[str, Json]:
    """The init container after which no packet leaves the pod; needs no support by the cluster's network."""
    capabilities: Json = {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    return shell(CUT, image, CUT_COMMAND, capabilities=capabilities)


def holder(container: Mapping[str, Json], image: str, volumes: set[str]) -> dict[str, Json]:
    """Sleeps under the container's name, and sees its volumes where the container did; it cannot write to them."""
    mounts = [table(m) for m in items(container.get("volumeMounts")) if table(m).get("name") in volumes]
    held = shell(
        str(container.get("name")), image, HOLD_COMMAND, capabilities={"drop": ["ALL"], "add": ["DAC_OVERRIDE"]}
    )
    return {
        **held,
        "volumeMounts": [{**m, "readOnly": True} for m in mounts],
        "resources": dict(table(container.get("resources"))),
    }


def shell(name: str, image: str, command: str, *, capabilities: Json) -> dict[str, Json]:
    security: dict[str, Json] = {
        "runAsUser": 0, "runAsNonRoot": False, "allowPrivilegeEscalation": False, "capabilities": capabilities,
    }  # fmt: skip
    return {
        "name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", command],
        "securityContext": security,
    }  # fmt: skip


def strangers(body: Mapping[str, Any]) -> list[str]:
    """The containers of a restored pod that are neither Velero's, nor ours: they may have done anything."""
    spec = table(body.get("spec"))
    running = [c for c in map(table, items(spec.get("containers"))) if at(c, "command") != ["sh", "-c", HOLD_COMMAND]]
    before = [
        c for c in map(table, items(spec.get("initContainers")))
        if not str(c.get("name")).startswith(RESTORE_WAIT) and at(c, "command") != ["sh", "-c", CUT_COMMAND]
    ]  # fmt: skip
    return [str(c.get("name")) for c in (*running, *before)]
