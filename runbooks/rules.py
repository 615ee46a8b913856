"""The one table of what a comparison of Kubernetes objects ignores, and why.

`OBJECTS` names what is not compared at all, `FIELDS` the places in what is. Whatever neither of them names is compared
leaf by leaf and must be equal. A kind outside `KNOWN` has no rules of its own: its `spec` and the other fields beside
`metadata` and `status` are compared, and the comparison says so. A path is written as in a Difference:
`metadata.labels[app.kubernetes.io/name]`, `spec.ports[*].nodePort`; `*` stands for any one segment, and a rule holds
for all that lies below its path. A null is the same as an absent field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

from runbooks import conditions, kube
from runbooks.conditions import Pair, Path
from runbooks.kube import Side
from runbooks.records import KubeObject

KNOWN = frozenset(
    {
        "ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim", "Namespace", "Pod", "Endpoints",
        "Event", "LimitRange", "ResourceQuota", "ReplicationController", "PodTemplate", "PersistentVolume",
        "Deployment.apps", "StatefulSet.apps", "DaemonSet.apps", "ReplicaSet.apps", "ControllerRevision.apps",
        "Job.batch", "CronJob.batch", "PodDisruptionBudget.policy", "HorizontalPodAutoscaler.autoscaling",
        "Ingress.networking.k8s.io", "NetworkPolicy.networking.k8s.io", "Role.rbac.authorization.k8s.io",
        "RoleBinding.rbac.authorization.k8s.io", "ClusterRole.rbac.authorization.k8s.io",
        "ClusterRoleBinding.rbac.authorization.k8s.io", "EndpointSlice.discovery.k8s.io",
        "Lease.coordination.k8s.io", "Event.events.k8s.io", "PodMetrics.metrics.k8s.io",
    }
)  # fmt: skip


@dataclass(frozen=True)
class ObjectRule:
    """Objects of these kinds are left out, if `when` says so of the object and the state it is in."""

    kinds: tuple[str, ...]
    reason: str
    when: Callable[[KubeObject, Side], bool] = lambda *_: True


@dataclass(frozen=True)
class FieldRule:
    """These paths of these kinds may differ, if `when` says so of the pair and the place."""

    kinds: tuple[str, ...]
    paths: tuple[str, ...]
    reason: str
    when: Callable[[Pair, Path], bool] = lambda *_: True

    @property
    def patterns(self) -> tuple[Path, ...]:
        return tuple(segments(p) for p in self.paths)


def segments(path: str) -> Path:
    """`spec.ports[http].nodePort` cut up: spec, ports, http, nodePort."""
    return tuple(a or b for a, b in re.findall(r"\[([^\]]*)\]|([^.\[\]]+)", path))


MADE_BY_OWNER = "made by its owner, which is compared in its place"
OBJECTS = (
    ObjectRule(("Event", "Event.events.k8s.io"), "a log of what happened, which expires; Velero restores none"),
    ObjectRule(("Lease.coordination.k8s.io",), "says who is alive, and is renewed every few seconds"),
    ObjectRule(("PodMetrics.metrics.k8s.io",), "measured on each request, stored nowhere"),
    ObjectRule(
        ("PersistentVolume",),
        "made for its claim: new storage has a new name; what it holds is compared file by file",
    ),
    ObjectRule(
        ("ConfigMap",),
        "the API server's own CA, published into each namespace by a controller",
        lambda thing, _: thing.name == "kube-root-ca.crt",
    ),
    ObjectRule(("Endpoints",), "written by a controller from the Service's pods", conditions.is_generated_endpoints),
    ObjectRule(
        ("EndpointSlice.discovery.k8s.io",),
        "written by a controller from the Service's pods",
        conditions.is_generated_slice,
    ),
    ObjectRule(
        ("Pod", "ReplicaSet.apps", "ControllerRevision.apps", "Job.batch"),
        MADE_BY_OWNER,
        lambda thing, _: kube.owner(thing) is not None,
    ),
    ObjectRule(
        ("Pod", "Job.batch"), "it has finished; Velero does not run it again", lambda thing, _: kube.is_finished(thing)
    ),
    ObjectRule(
        ("Secret",), "a token made for its ServiceAccount; Velero leaves it to the cluster", conditions.is_auto_token
    ),
    ObjectRule(
        ("*",),
        "left out of every backup by its own label velero.io/exclude-from-backup",
        lambda thing, _: kube.labels(thing).get("velero.io/exclude-from-backup") == "true",
    ),
)


FIELDS = (
    FieldRule(
        ("*",),
        (
            "metadata.uid", "metadata.resourceVersion", "metadata.creationTimestamp", "metadata.generation",
            "metadata.managedFields", "metadata.selfLink", "metadata.ownerReferences[*].uid",
        ),
        "given by the API server to each object that it makes",
    ),
    FieldRule(("*",), ("status",), "what a controller saw last; whether it works is checked by itself"),
    FieldRule(("*",), ("apiVersion",), "one object is served in several versions; discovery chooses one"),
    FieldRule(("*",), ("metadata.generateName",), "dropped by Velero; the name that came of it is compared"),
    FieldRule(
        ("*",), ("metadata.ownerReferences",),
        "dropped by Velero; a controller that wants its objects back adopts them",
        conditions.lost_its_owners,
    ),
    FieldRule(
        ("*",),
        (
            "metadata.labels[velero.io/backup-name]", "metadata.labels[velero.io/restore-name]",
            "metadata.annotations[backup.velero.io/must-include-additional-items]",
            "metadata.annotations[restore.velero.io/must-include-additional-items]",
        ),
        "written by Velero onto what it backs up and restores",
    ),
    FieldRule(
        ("Namespace",), ("metadata.labels[kubernetes.io/metadata.name]",), "set by the API server to the name itself"
    ),
    FieldRule(
        ("Deployment.apps", "DaemonSet.apps"),
        (
            "metadata.annotations[deployment.kubernetes.io/revision]",
            "metadata.annotations[deprecated.daemonset.template.generation]",
        ),
        "how many templates it has had, counted by its controller",
    ),
    FieldRule(
        ("Deployment.apps", "StatefulSet.apps", "ReplicaSet.apps", "ReplicationController"),
        ("spec.replicas",),
        "within the limits of its HorizontalPodAutoscaler, which chooses the number",
        conditions.is_within_autoscaler,
    ),
    FieldRule(
        ("HorizontalPodAutoscaler.autoscaling",),
        (
            "metadata.annotations[autoscaling.alpha.kubernetes.io/conditions]",
            "metadata.annotations[autoscaling.alpha.kubernetes.io/current-metrics]",
        ),
        "its status, as an annotation",
    ),
    FieldRule(
        ("Service",), ("spec.clusterIP", "spec.clusterIPs"),
        "allocated by the API server; clients use the name",
        conditions.has_cluster_ip,
    ),
    FieldRule(
        ("Service",), ("spec.ports[*].nodePort",),
        "allocated by the API server, asked for by nobody; Velero lets it be allocated again",
        conditions.node_port_was_allocated,
    ),
    FieldRule(
        ("Service",), ("spec.healthCheckNodePort",),
        "allocated by the API server, asked for by nobody; Velero lets it be allocated again",
        conditions.health_port_was_allocated,
    ),
    FieldRule(
        ("Service",), ("spec.selector[dr-runbooks/gate]",),
        "the closed gate: keeps clients away until the validation has passed",
        conditions.gate_is_closed,
    ),
    FieldRule(
        ("ServiceAccount",), ("secrets[*]",),
        "a token made for it, under a random name",
        lambda _, path: "-token-" in path[1],
    ),
    FieldRule(
        ("Secret",),
        (
            "data", "metadata.annotations[kubernetes.io/service-account.uid]",
            "metadata.labels[kubernetes.io/legacy-token-last-used]",
        ),
        "the token of a ServiceAccount, filled in by a controller",
        lambda pair, _: kube.is_token(pair.expected) and kube.is_token(pair.observed),
    ),
    FieldRule(
        ("PersistentVolumeClaim",),
        (
            "spec.volumeName", "metadata.annotations[pv.kubernetes.io/bind-completed]",
            "metadata.annotations[pv.kubernetes.io/bound-by-controller]",
            "metadata.annotations[volume.kubernetes.io/selected-node]",
            "metadata.annotations[volume.kubernetes.io/storage-provisioner]",
            "metadata.annotations[volume.beta.kubernetes.io/storage-provisioner]",
            "metadata.annotations[velero.io/volume-snapshot-name]",
            "metadata.annotations[velero.io/data-upload-name]",
            "spec.selector.matchLabels[velero.io/dynamic-pv-restore]",
        ),
        "which volume it is bound to and how that came; new storage has a new name",
    ),
    FieldRule(("Pod",), ("spec.nodeName",), "the scheduler chooses a node again"),
    FieldRule(
        ("Pod",), ("spec.initContainers[restore-wait]",), "put in by Velero, to wait until the volumes are filled"
    ),
    FieldRule(
        ("Job.batch",),
        tuple(
            f"{place}[{label}]"
            for place in ("spec.selector.matchLabels", "spec.template.metadata.labels", "metadata.labels")
            for label in ("controller-uid", "batch.kubernetes.io/controller-uid")
        ),
        "the UID of the Job, which the API server gives",
    ),
    FieldRule(
        ("ConfigMap",),
        ("metadata.annotations[control-plane.alpha.kubernetes.io/leader]",),
        "says who leads, and is renewed every few seconds",
    ),
)  # fmt: skip
UNKNOWN = FieldRule(
    ("a kind without rules of its own",),
    ("metadata.labels", "metadata.annotations", "metadata.finalizers", "metadata.ownerReferences"),
    "a kind without rules of its own: whoever reconciles it may write there; listed as weakly checked",
)
UNORDERED = (
    ("*", ("metadata", "finalizers")),
    ("*", ("metadata", "ownerReferences")),
    ("Service", ("spec", "ports")),
    ("ServiceAccount", ("secrets",)),
)  # sets and maps that the API writes as lists; everywhere else the order means something


@cache
def _fields_of(kind: str) -> tuple[tuple[Path, FieldRule], ...]:
    rules = [r for r in FIELDS if "*" in r.kinds or kind in r.kinds] + ([] if kind in KNOWN else [UNKNOWN])
    return tuple((pattern, rule) for rule in rules for pattern in rule.patterns)


@lru_cache(maxsize=20_000)
def _fields_at(kind: str, path: Path) -> tuple[FieldRule, ...]:
    return tuple(rule for pattern, rule in _fields_of(kind) if _covers(pattern, path))


def _covers(pattern: Path, path: Path) -> bool:
    return len(pattern) <= len(path) and all(p in ("*", s) for p, s in zip(pattern, path, strict=False))


def object_reason(thing: KubeObject, side: Side) -> str | None:
    """Why *thing* is not compared, or None: it is."""
    kind = kube.kind(thing)
    for rule in OBJECTS:
        if ("*" in rule.kinds or kind in rule.kinds) and rule.when(thing, side):
            return rule.reason
    return None


def field_reason(kind: str, path: Path, pair: Pair) -> str | None:
    """Why this pair may differ at *path*, or None: it may not."""
    return next((rule.reason for rule in _fields_at(kind, path) if rule.when(pair, path)), None)


def is_unordered(kind: str, path: Path) -> bool:
    return any(k in ("*", kind) and path == place for k, place in UNORDERED)


def why_ignored(kind: str, path: str) -> str | None:
    """The reason of the rule for *path* of *kind* ("Service", "Deployment.apps"); some hold only when it says so."""
    return next((rule.reason for rule in _fields_at(kind, segments(path))), None)
