"""When a rule of `runbooks.rules` holds: asked of an object and the state it is in, or of a pair and a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runbooks import kube
from runbooks.kube import Side, at
from runbooks.model import Json
from runbooks.records import KubeObject

Path = tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One object in both states, and the state that is expected around it."""

    expected: Mapping[str, Json]
    observed: Mapping[str, Json]
    around: Side


def is_auto_token(thing: KubeObject, _: Side) -> bool:
    account = kube.notes(thing.body).get("kubernetes.io/service-account.name")
    return kube.is_token(thing.body) and thing.name.startswith(f"{account}-token-")


def is_generated_endpoints(thing: KubeObject, side: Side) -> bool:
    return (
        (kube.key(thing).namespace, thing.name) in side.services_with_selector
        or kube.labels(thing).get("endpoints.kubernetes.io/managed-by") == "endpoint-controller"
        or "control-plane.alpha.kubernetes.io/leader" in kube.notes(thing.body)
    )


def is_generated_slice(thing: KubeObject, _: Side) -> bool:
    return kube.labels(thing).get("endpointslice.kubernetes.io/managed-by") in kube.SLICE_CONTROLLERS


def has_cluster_ip(pair: Pair, _: Path) -> bool:
    """Headless is what somebody wanted, not what the server allocated."""
    return "None" not in (at(pair.expected, "spec", "clusterIP"), at(pair.observed, "spec", "clusterIP"))


def node_port_was_allocated(pair: Pair, path: Path) -> bool:
    ports = [kube.table(p) for p in kube.items(at(pair.expected, "spec", "ports"))]
    here = [p for n, p in enumerate(ports) if path[2] in (p.get("name"), str(n))]
    gone = not here or here[0].get("nodePort") is None
    return not gone and not kube.asked_for_port(pair.expected, here[0])


def health_port_was_allocated(pair: Pair, _: Path) -> bool:
    return not kube.asked_for_health_port(pair.expected)


def is_within_autoscaler(pair: Pair, _: Path) -> bool:
    namespace, name = (str(at(pair.expected, "metadata", k)) for k in ("namespace", "name"))
    limits = pair.around.scaled.get((namespace, str(pair.expected.get("kind")), name))
    replicas = at(pair.observed, "spec", "replicas")
    return limits is not None and isinstance(replicas, int) and limits[0] <= replicas <= limits[1]


def lost_its_owners(pair: Pair, _: Path) -> bool:
    return not at(pair.observed, "metadata", "ownerReferences")


def gate_is_closed(pair: Pair, _: Path) -> bool:
    return at(pair.observed, "spec", "selector", "dr-runbooks/gate") in (None, "closed")
