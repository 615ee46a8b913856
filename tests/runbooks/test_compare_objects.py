"""Objects: what is wrong is named, what a right restore changes is let pass with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runbooks import compare
from runbooks.kube import LAST_APPLIED
from runbooks.records import Difference, KubeObject
from tests.runbooks import shop
from tests.runbooks.shop import Body

BACKUP = shop.load("backup")
AFTER = shop.load("after")


def container(body: Body) -> Any:
    return body["spec"]["template"]["spec"]["containers"][0]


def found(change: Callable[[Body], object], label: str) -> list[Difference]:
    return list(compare.objects(BACKUP, shop.changed(AFTER, label, change)).differences)


def test_clean_restore() -> None:
    """A namespace deleted and restored by Velero has no difference, and all that somebody wrote was compared."""
    comparison = compare.objects(BACKUP, AFTER)
    assert (comparison.differences, comparison.compared) == ((), 29)


def test_nothing_lost_between_backup_and_before() -> None:
    """What did not change since the backup is not lost."""
    assert compare.loss(shop.load("before"), BACKUP).differences == ()


def test_what_differed_and_was_let_pass_is_told() -> None:
    """Green says what it did not count, how often, and why."""
    reasons = {i.reason: i for i in compare.objects(BACKUP, AFTER).ignored}
    assert "Service/web spec.selector[dr-runbooks/gate]" in {i.example for i in reasons.values()}
    given = reasons["given by the API server to each object that it makes"]
    assert given.times > 60


WRONG: dict[str, tuple[str, Callable[[Body], object], Difference]] = {
    "older image": (
        "Deployment/web",
        lambda b: container(b).update(image="lab.local/busybox:0"),
        Difference(
            where="Deployment/web spec.template.spec.containers[web].image",
            expected='"lab.local/busybox:1"',
            observed='"lab.local/busybox:0"',
        ),
    ),
    "fewer replicas": (
        "Deployment/web",
        lambda b: b["spec"].update(replicas=1),
        Difference(where="Deployment/web spec.replicas", expected="2", observed="1"),
    ),
    "another command": (
        "StatefulSet/queue",
        lambda b: container(b)["command"].append("x"),
        Difference(
            where="StatefulSet/queue spec.template.spec.containers[queue].command",
            expected='["sleep","100000"]',
            observed='["sleep","100000","x"]',
        ),
    ),
    "environment in another order": (
        "Deployment/web",
        lambda b: container(b)["env"].reverse(),
        Difference(
            where="Deployment/web spec.template.spec.containers[web].env",
            expected='["GREETING","MY_IP","COLOR"]',
            observed='["COLOR","MY_IP","GREETING"]',
        ),
    ),
    "port asked for by a person": (
        "Service/web",
        lambda b: b["spec"]["ports"][0].update(nodePort=30123),
        Difference(where="Service/web spec.ports[http].nodePort", expected="30977", observed="30123"),
    ),
    "headless Service with an address": (
        "Service/queue",
        lambda b: b["spec"].update(clusterIP="10.1.2.3"),
        Difference(where="Service/queue spec.clusterIP", expected='"None"', observed='"10.1.2.3"'),
    ),
    "Service without endpoints": (
        "Service/web",
        lambda b: b["spec"]["selector"].update(app="nobody"),
        Difference(where="Service/web spec.selector.app", expected='"web"', observed='"nobody"'),
    ),
    "gate with another value": (
        "Service/web",
        lambda b: b["spec"]["selector"].update({"dr-runbooks/gate": "ajar"}),
        Difference(where="Service/web spec.selector[dr-runbooks/gate]", expected="absent", observed='"ajar"'),
    ),
    "replicas beyond the autoscaler": (
        "Deployment/scaled",
        lambda b: b["spec"].update(replicas=5),
        Difference(where="Deployment/scaled spec.replicas", expected="2", observed="5"),
    ),
    "autoscaler with another limit": (
        "HorizontalPodAutoscaler/scaled",
        lambda b: b["spec"].update(maxReplicas=2),
        Difference(where="HorizontalPodAutoscaler/scaled spec.maxReplicas", expected="4", observed="2"),
    ),
    "rights": (
        "Role/web",
        lambda b: b["rules"][0]["verbs"].append("delete"),
        Difference(where="Role/web rules[0].verbs", expected='["get","watch"]', observed='["get","watch","delete"]'),
    ),
    "label of the namespace": (
        "Namespace/shop",
        lambda b: b["metadata"]["labels"].pop("dr-runbooks/drill"),
        Difference(where="Namespace/shop metadata.labels[dr-runbooks/drill]", expected='"allowed"', observed="absent"),
    ),
    "being deleted": (
        "ConfigMap/web",
        lambda b: b["metadata"].update(deletionTimestamp="2026-11-23T10:00:00Z"),
        Difference(
            where="ConfigMap/web metadata.deletionTimestamp", expected="absent", observed='"2026-11-23T10:00:00Z"'
        ),
    ),
    "custom resource": (
        "Widget/wheel",
        lambda b: b["spec"]["parts"][0].update(count=31),
        Difference(where="Widget/wheel spec.parts[spoke].count", expected="32", observed="31"),
    ),
}


@pytest.mark.parametrize("situation", WRONG)
def test_wrong_recovery(situation: str) -> None:
    """One wrong thing is one difference, which names it."""
    label, change, difference = WRONG[situation]
    assert found(change, label) == [difference]


def _forget_applied(body: Body) -> None:
    del body["metadata"]["annotations"][LAST_APPLIED]


def _forget_managed(body: Body) -> None:
    _forget_applied(body)
    del body["metadata"]["managedFields"]


@pytest.mark.parametrize(
    ("forget", "is_told"), [(lambda b: None, True), (_forget_applied, True), (_forget_managed, False)]
)
def test_who_asked_for_a_port(forget: Callable[[Body], object], is_told: bool) -> None:
    """A node port counts when it was applied or a manager owns it; when neither is known it was allocated."""
    backup = shop.changed(BACKUP, "Service/web", forget)
    after = shop.changed(AFTER, "Service/web", lambda b: (forget(b), b["spec"]["ports"][0].update(nodePort=30123)))
    where = [d.where for d in compare.objects(backup, after).differences]
    assert where == (["Service/web spec.ports[http].nodePort"] if is_told else [])


def test_port_allocated_again() -> None:
    """Nobody asked for the second port's number."""
    change = {"nodePort": 30124}
    assert found(lambda b: b["spec"]["ports"][1].update(change), "Service/web") == []


@pytest.mark.parametrize("label", ["PodDisruptionBudget/web", "Deployment/web", "Pod/bare", "EndpointSlice/outside-1"])
def test_object_gone(label: str) -> None:
    """Pods without an owner and endpoints written by hand count like any other object."""
    comparison = compare.objects(BACKUP, shop.without(AFTER, label))
    assert comparison.differences == (Difference(where=label, expected="present", observed="missing"),)


def test_object_too_many() -> None:
    """Something nobody backed up is there: left over, or made by somebody since."""
    extra = shop.thing({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd", "namespace": "shop"}})
    comparison = compare.objects(BACKUP, (*AFTER, extra))
    assert comparison.differences == (Difference(where="ConfigMap/odd", expected="absent", observed="present"),)


@pytest.mark.parametrize("label", ["ConfigMap/web", "Secret/web"])
def test_value_changed(label: str) -> None:
    """That a value differs is shown by its HMAC; the value itself is nowhere."""
    name = next(iter(shop.one(BACKUP, label).body["data"]))  # type: ignore[arg-type]
    [difference] = found(lambda b: b["data"].update({name: "hmac:0123456789abcdef"}), label)
    assert difference.expected.startswith("hmac:")
    assert (len(difference.expected), difference.observed) == (13, "differs: hmac:01234567")


def test_value_that_was_not_digested() -> None:
    """Should a value ever come without its HMAC, it still leaves no trace."""
    [difference] = found(lambda b: b.update(data={"PASSWORD": "opensesame"}), "Secret/web")
    assert "opensesame" not in difference.model_dump_json()


def test_owner_gone_but_its_pods_run() -> None:
    """Brought back by selector, ReplicaSet and pods answer without their Deployment, and nothing keeps them so."""
    labels = [o.label for o in AFTER if o.kind in ("ReplicaSet", "Pod") and "web-" in o.name]
    orphaned: tuple[KubeObject, ...] = shop.without(AFTER, "Deployment/web")
    kept = {o.label for o in BACKUP}
    for label in labels:
        orphaned = shop.changed(orphaned, label, lambda b: b["metadata"].pop("ownerReferences"))
    where = {d.where for d in compare.objects(BACKUP, orphaned).differences}
    assert "Deployment/web" in where
    assert {f"{name} metadata.ownerReferences" for name in labels if name in kept} <= where


def test_autoscaled_replicas() -> None:
    """Any number between the autoscaler's limits is right."""
    assert found(lambda b: b["spec"].update(replicas=4), "Deployment/scaled") == []


def test_served_in_another_version() -> None:
    """The same object may be listed in another version than it was backed up in."""
    other = shop.changed(AFTER, "PodDisruptionBudget/web", lambda b: b.update(apiVersion="policy/v2"))
    assert compare.objects(BACKUP, other).differences == ()


def test_of_the_cluster() -> None:
    """What outlives the namespace is in the backup only, and is said not to be compared."""
    role = shop.thing({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}})
    comparison = compare.objects((*BACKUP, role), AFTER)
    assert comparison.differences == ()
    assert "ClusterRole/r: belongs to the cluster, not compared" in comparison.weakly_checked


def test_kind_without_rules() -> None:
    """It is compared by its spec alone, and the report says so."""
    assert "Widget.shop.example.com/v1: only spec compared" in compare.objects(BACKUP, AFTER).weakly_checked
    assert found(lambda b: b["metadata"].update(labels={"app": "reconciled"}), "Widget/wheel") == []


def test_left_out_of_backups_by_its_label() -> None:
    """Who labels an object so has given it up; it is no loss."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "cache", "namespace": "shop", "labels": {"velero.io/exclude-from-backup": "true"}},
    }
    assert compare.loss((*shop.load("before"), shop.thing(body)), BACKUP).differences == ()


def test_two_namespaces() -> None:
    """Objects of one name in two namespaces are two objects, and a difference says which it means."""
    bodies = [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "same", "namespace": n}} for n in ("blue", "red")
    ]
    blue, red = map(shop.thing, bodies)
    comparison = compare.objects([blue, red], [blue])
    assert comparison.differences == (Difference(where="red: ConfigMap/same", expected="present", observed="missing"),)


def test_nothing_to_compare() -> None:
    """Two empty states are equal, and nothing was compared."""
    comparison = compare.objects([], [])
    assert (comparison.differences, comparison.compared) == ((), 0)
