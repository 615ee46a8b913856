"""Endpoints and EndpointSlices of the Services, from the pods that their selectors find."""

from __future__ import annotations

from tests.fakes.core import Core
from tests.fakes.kinds import ENDPOINTS, PODS, SERVICES, SLICES
from tests.fakes.selectors import labels_of
from tests.fakes.store import Object
from tests.fakes.workloads import is_ready, owner

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"


def reconcile(core: Core) -> None:
    for service in core.store.list(SERVICES):
        if service["spec"].get("selector") and not service["metadata"].get("deletionTimestamp"):
            pods = backends(core, service)
            _slice(core, service, pods)
            _endpoints(core, service, pods)
    for one in core.store.list(ENDPOINTS):
        if core.store.find(SERVICES, one["metadata"]["namespace"], one["metadata"]["name"]) is None:
            core.store.remove(ENDPOINTS, one)


def backends(core: Core, service: Object) -> list[Object]:
    """Pods with an address that the Service's selector matches, ready or not."""
    selector = service["spec"].get("selector") or {}
    if not selector:
        return []
    pods = core.store.list(PODS, service["metadata"]["namespace"])
    found = [pod for pod in pods if selector.items() <= labels_of(pod).items()]
    return [pod for pod in found if pod["status"].get("podIP")]


def ready_pods(core: Core, namespace: str, name: str) -> list[Object]:
    """The pods behind a Service that would get a client's request, as its slices say."""
    pods = []
    for one in core.store.list(SLICES, namespace):
        if labels_of(one).get(SERVICE_NAME) == name:
            ready = [each for each in one["endpoints"] or [] if each["conditions"]["ready"]]
            pods += [core.store.find(PODS, namespace, each["targetRef"]["name"]) for each in ready]
    return [pod for pod in pods if pod is not None]


def _slice(core: Core, service: Object, pods: list[Object]) -> None:
    meta = service["metadata"]
    slices = [
        one for one in core.store.list(SLICES, meta["namespace"]) if labels_of(one).get(SERVICE_NAME) == meta["name"]
    ]
    for extra in slices[1:]:  # one that a restore brought back beside ours
        core.store.remove(SLICES, extra)
    body = {"endpoints": [_endpoint(pod) for pod in pods] or None, "ports": _ports(service, pods)}
    if slices:
        core.store.amend(SLICES, slices[0], lambda new: new.update(body))
        return
    labels = labels_of(service) | {SERVICE_NAME: meta["name"], MANAGED_BY: CONTROLLER}
    new = {
        "metadata": {"generateName": meta["name"] + "-", "namespace": meta["namespace"], "labels": labels,
                     "ownerReferences": [owner(service, SERVICES)]},
        "addressType": "IPv4",
    }  # fmt: skip
    core.store.create(SLICES, new | body, manager="kube-controller-manager")


def _endpoint(pod: Object) -> Object:
    ready = is_ready(pod)
    target = {"kind": "Pod", "namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"],
              "uid": pod["metadata"]["uid"]}  # fmt: skip
    leaving = bool(pod["metadata"].get("deletionTimestamp"))
    return {"addresses": [pod["status"]["podIP"]], "targetRef": target, "nodeName": pod["spec"]["nodeName"],
            "conditions": {"ready": ready, "serving": ready, "terminating": leaving}}  # fmt: skip


def _ports(service: Object, pods: list[Object]) -> list[Object]:
    ports = service["spec"].get("ports", [])
    return [{"name": one.get("name", ""), "port": _number(one["targetPort"], pods), "protocol": "TCP"} for one in ports]


def _number(port: int | str, pods: list[Object]) -> int:
    """A port's number by the name that the containers give it."""
    named = {one.get("name"): int(one["containerPort"]) for pod in pods for container in pod["spec"]["containers"]
             for one in container.get("ports", [])}  # fmt: skip
    return port if isinstance(port, int) else named.get(port, 0)


def _endpoints(core: Core, service: Object, pods: list[Object]) -> None:
    meta = service["metadata"]
    subset: Object = {}
    for pod in pods:
        address = {"ip": pod["status"]["podIP"], "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]}}
        subset.setdefault("addresses" if is_ready(pod) else "notReadyAddresses", []).append(address)
    body = {"subsets": [subset | {"ports": _ports(service, pods)}]} if subset else {}
    known = core.store.find(ENDPOINTS, meta["namespace"], meta["name"])
    if known is None:
        labels = labels_of(service) | {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}
        new = {"metadata": {"name": meta["name"], "namespace": meta["namespace"], "labels": labels}}
        core.store.create(ENDPOINTS, new | body, manager="kube-controller-manager")
    else:
        core.store.amend(ENDPOINTS, known, lambda one: _replace(one, body))


def _replace(one: Object, body: Object) -> None:
    one.pop("subsets", None)
    one.update(body)
