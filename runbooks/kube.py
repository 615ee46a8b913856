"""What can be read off a Kubernetes object, without asking a cluster."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from runbooks.model import Json
from runbooks.records import KubeObject

NOTHING: Mapping[str, Json] = {}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
BY_ITSELF = (
    "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection", "batch.kubernetes.io/job-tracking",
    "foregroundDeletion", "orphan",
)  # fmt: skip
"""Kubernetes removes these finalizers when their time has come."""
SLICE_CONTROLLERS = ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io")


class Key(NamedTuple):
    """What makes two objects the same one; the version is left out, since discovery chooses it."""

    group: str
    kind: str
    namespace: str
    name: str


class Owner(NamedTuple):
    kind: str
    name: str


def table(value: object) -> Mapping[str, Json]:
    """*value* if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else NOTHING


def items(value: object) -> list[Json]:
    return value if isinstance(value, list) else []


def at(body: Mapping[str, Json], *path: str) -> Json:
    """What lies at *path*; None when any part of it is absent."""
    here: Json = dict(body)
    for segment in path:
        here = table(here).get(segment)
    return here


def group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def kind(thing: KubeObject) -> str:
    """The kind with its group, such as Deployment.apps; core kinds stand alone."""
    return f"{thing.kind}.{group(thing.api_version)}".rstrip(".")


def key(thing: KubeObject) -> Key:
    namespace = at(thing.body, "metadata", "namespace")
    return Key(group(thing.api_version), thing.kind, namespace if isinstance(namespace, str) else "", thing.name)


def is_cluster_scoped(key: Key) -> bool:
    """It outlives the namespace. The Namespace itself does not."""
    return key.kind != "Namespace" and not key.namespace


def labels(thing: KubeObject) -> Mapping[str, Json]:
    return table(at(thing.body, "metadata", "labels"))


def notes(body: Mapping[str, Json]) -> Mapping[str, Json]:
    return table(at(body, "metadata", "annotations"))


def owner(thing: KubeObject) -> Owner | None:
    """The controller among the owners, else the first of them."""
    owners = [table(o) for o in items(at(thing.body, "metadata", "ownerReferences"))]
    if not owners:
        return None
    chosen = next((o for o in owners if o.get("controller") is True), owners[0])
    return Owner(str(chosen.get("kind")), str(chosen.get("name")))


def is_finished(thing: KubeObject) -> bool:
    """A Job that completed or failed, a pod that will not run again."""
    if thing.kind == "Pod":
        return at(thing.body, "status", "phase") in ("Succeeded", "Failed")
    conditions = (table(c) for c in items(at(thing.body, "status", "conditions")))
    return any(c.get("type") in ("Complete", "Failed") and c.get("status") == "True" for c in conditions)


def is_token(body: Mapping[str, Json]) -> bool:
    return body.get("type") == "kubernetes.io/service-account-token"


def asked_for_health_port(service: Mapping[str, Json]) -> bool:
    """Whether a person wrote `spec.healthCheckNodePort`; told as in `asked_for_port`."""
    return at(_applied(service), "spec", "healthCheckNodePort") is not None or any(
        "f:healthCheckNodePort" in table(at(fields, "f:spec")) for fields in _managed(service)
    )


def asked_for_port(service: Mapping[str, Json], port: Mapping[str, Json]) -> bool:
    """Whether a person wrote this port's `nodePort`.

    A port that the API server allocated is neither in what was applied nor owned by a manager of fields.
    Source: velero pkg/restore/actions/service_action.go, which keeps the ones that were written.
    """
    for applied in (table(p) for p in items(at(_applied(service), "spec", "ports"))):
        if applied.get("nodePort") == port.get("nodePort") and applied.get("name") == port.get("name"):
            return True
    managed = f'k:{{"port":{port.get("port")},"protocol":"{port.get("protocol")}"}}'
    return any("f:nodePort" in table(at(fields, "f:spec", "f:ports", managed)) for fields in _managed(service))


def _applied(body: Mapping[str, Json]) -> Mapping[str, Json]:
    try:
        return table(json.loads(str(notes(body).get(LAST_APPLIED))))
    except ValueError:
        return NOTHING


def _managed(body: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    return [table(table(m).get("fieldsV1")) for m in items(at(body, "metadata", "managedFields"))]


class Side:
    """The objects of one state, found by key. Of an object that is there in two versions the first counts."""

    def __init__(self, objects: Iterable[KubeObject]) -> None:
        self.by_key: dict[Key, KubeObject] = {}
        for thing in objects:
            self.by_key.setdefault(key(thing), thing)

    @cached_property
    def services_with_selector(self) -> set[tuple[str, str]]:
        """Their endpoints are written by a controller."""
        return {
            (k.namespace, k.name)
            for k, o in self.by_key.items()
            if (k.group, k.kind) == ("", "Service") and at(o.body, "spec", "selector")
        }

    @cached_property
    def scaled(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Namespace, kind and name of what a HorizontalPodAutoscaler scales: between which two numbers."""
        found: dict[tuple[str, str, str], tuple[int, int]] = {}
        for k, o in self.by_key.items():
            target = table(at(o.body, "spec", "scaleTargetRef"))
            least, most = at(o.body, "spec", "minReplicas"), at(o.body, "spec", "maxReplicas")
            if k.kind == "HorizontalPodAutoscaler" and isinstance(most, int):
                lowest = least if isinstance(least, int) else 1
                found[k.namespace, str(target.get("kind")), str(target.get("name"))] = (lowest, most)
        return found


def finalizers(body: Mapping[str, Json]) -> tuple[str, ...]:
    """Those that Kubernetes itself will not remove when their time has come."""
    marks = items(table(body.get("metadata")).get("finalizers"))
    return tuple(str(mark) for mark in marks if mark not in BY_ITSELF)
