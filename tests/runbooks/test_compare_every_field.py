"""0 differences is not bought by ignoring: whatever is changed, removed or added is reported, or has its reason."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from runbooks import compare, kube, rules
from runbooks.records import KubeObject
from tests.runbooks import shop
from tests.runbooks.shop import Body

BACKUP = shop.load("backup")
SIDE = kube.Side(BACKUP)
AROUND = [o for o in BACKUP if o.kind == "HorizontalPodAutoscaler"]
COMPARED = [o for o in BACKUP if rules.object_reason(o, SIDE) is None]
LEFT_OUT = [o for o in BACKUP if rules.object_reason(o, SIDE) is not None]
BOTH = ("changed", "removed")
IDENTITY: dict[tuple[str | int, ...], tuple[str, ...]] = {
    ("kind",): BOTH, ("metadata", "name"): BOTH, ("metadata", "namespace"): BOTH, ("apiVersion",): ("removed",)
}  # fmt: skip
EVERYWHERE = {
    "apiVersion", "metadata.creationTimestamp", "metadata.generation", "metadata.managedFields",
    "metadata.resourceVersion", "metadata.uid", "status",
}  # fmt: skip
MAY_DIFFER = {
    "CustomResourceDefinition/widgets.shop.example.com": {"metadata.annotations"},
    "Deployment/web": {"metadata.annotations[deployment.kubernetes.io/revision]"},
    "Deployment/scaled": {"metadata.annotations[deployment.kubernetes.io/revision]", "spec.replicas"},
    "DaemonSet/agent": {"metadata.annotations[deprecated.daemonset.template.generation]"},
    "Job/import": {
        f"{place}[{prefix}controller-uid]" if prefix else f"{place}.controller-uid"
        for place in ("metadata.labels", "spec.template.metadata.labels", "spec.selector.matchLabels")
        for prefix in ("", "batch.kubernetes.io/")
    }
    - {"spec.selector.matchLabels.controller-uid"},
    "Namespace/shop": {"metadata.labels[kubernetes.io/metadata.name]"},
    "PersistentVolumeClaim/invoices": {
        "spec.volumeName",
        "metadata.annotations[pv.kubernetes.io/bind-completed]",
        "metadata.annotations[pv.kubernetes.io/bound-by-controller]",
        "metadata.annotations[volume.beta.kubernetes.io/storage-provisioner]",
        "metadata.annotations[volume.kubernetes.io/selected-node]",
        "metadata.annotations[volume.kubernetes.io/storage-provisioner]",
    },
    "Pod/bare": {"spec.nodeName"},
    "Secret/web-token": {"data", "metadata.annotations[kubernetes.io/service-account.uid]"},
    "Service/balanced": {
        "spec.clusterIP", "spec.clusterIPs", "spec.ports[0].nodePort", "spec.healthCheckNodePort"
    },
    "Service/outside": {"spec.clusterIP", "spec.clusterIPs"},
    "Service/web": {"spec.clusterIP", "spec.clusterIPs", "spec.ports[alternative].nodePort"},
    "Widget/wheel": {"metadata.annotations", "metadata.labels"},
}  # fmt: skip
MAY_DIFFER["PersistentVolumeClaim/data-queue-0"] = MAY_DIFFER["PersistentVolumeClaim/invoices"]


def every_change(body: Body) -> Iterator[tuple[str, Body]]:
    """The object with each of its leaves changed, then removed, then with something new beside it."""
    for path in shop.leaves(body):
        for what, change in (("changed", _change), ("removed", _remove), ("added beside", _add_beside)):
            if not (path in IDENTITY and what in IDENTITY[path]):
                new = copy.deepcopy(body)
                change(_at(new, path[:-1]), path[-1])
                yield f"{what}: {'.'.join(map(str, path))}", new


def _at(body: Any, path: tuple[str | int, ...]) -> Any:
    for name in path:
        body = body[name]
    return body


def _change(parent: Any, name: str | int) -> None:
    value = parent[name]
    if isinstance(value, bool):
        parent[name] = not value
    elif isinstance(value, int):
        parent[name] = value + 1
    elif isinstance(value, str):
        parent[name] = f"{value}x"
    else:
        parent[name] = {"new": "new"}


def _remove(parent: Any, name: str | int) -> None:
    del parent[name]


def _add_beside(parent: Any, name: str | int) -> None:
    if isinstance(parent, list):
        parent.insert(int(name), "new")
    else:
        parent["new"] = "new"


def _compared(expected: KubeObject, body: Body) -> compare.Comparison:
    around = [o for o in AROUND if o.label != expected.label]
    return compare.objects([expected, *around], [shop.thing(body), *around])


def _name(thing: KubeObject) -> str:
    return f"{thing.label} {thing.api_version}"


@pytest.mark.parametrize("thing", COMPARED, ids=_name)
def test_every_field(thing: KubeObject) -> None:
    """Each leaf of each object of a real namespace, one at a time; what may differ is listed here once more."""
    ignored = set()
    for what, body in every_change(thing.body):
        comparison = _compared(thing, body)
        assert comparison.differences or comparison.ignored, f"slipped through: {what}"
        for one in comparison.ignored:
            path = one.example.removeprefix(f"{thing.label} ")
            assert one.reason == rules.why_ignored(kube.kind(thing), path)
            ignored.add(path)
    assert ignored - EVERYWHERE == MAY_DIFFER.get(thing.label, set())


@pytest.mark.parametrize("thing", LEFT_OUT, ids=_name)
def test_object_left_out(thing: KubeObject) -> None:
    """What is not compared at all is so for a reason, which is told, and whose absence would not matter either."""
    reason = rules.object_reason(thing, SIDE)
    comparison = compare.objects(BACKUP, shop.without(BACKUP, thing.label))
    assert comparison.differences == ()
    assert reason in {i.reason for i in comparison.ignored}


def test_kinds_left_out() -> None:
    """A kind more in this list would be compared no longer."""
    assert {kube.kind(o) for o in LEFT_OUT} == {
        "ConfigMap", "ControllerRevision.apps", "EndpointSlice.discovery.k8s.io", "Endpoints", "Event", "Job.batch",
        "Lease.coordination.k8s.io", "PersistentVolume", "Pod", "ReplicaSet.apps",
    }  # fmt: skip
    assert [o.label for o in LEFT_OUT if o.kind == "ConfigMap"] == ["ConfigMap/kube-root-ca.crt"]
    assert {o.label for o in LEFT_OUT if o.kind in ("EndpointSlice", "Endpoints")} >= {"Endpoints/web"}
    assert not {"Pod/bare", "Job/import", "EndpointSlice/outside-1"} & {o.label for o in LEFT_OUT}


def test_every_rule_has_a_reason() -> None:
    """A rule nobody can explain has no place in the table."""
    assert all(len(r.reason) > 20 and r.kinds for r in (*rules.OBJECTS, *rules.FIELDS))
    assert {k for r in (*rules.OBJECTS, *rules.FIELDS) for k in r.kinds} <= rules.KNOWN | {"*"}


def test_why_ignored() -> None:
    """Asked for one place, the table answers with the reason, or with None."""
    assert rules.why_ignored("Service", "spec.clusterIP") == "allocated by the API server; clients use the name"
    assert rules.why_ignored("Deployment.apps", "status.readyReplicas") is not None
    assert rules.why_ignored("Deployment.apps", "spec.template.spec.containers[web].image") is None
    assert "without rules" in str(rules.why_ignored("Widget.shop.example.com", "metadata.labels.app"))
