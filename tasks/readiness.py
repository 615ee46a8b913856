"""Is everything that can still come up at work? One look; the caller waits.

What is not there at all, or asks for less than before, will not come by waiting: the comparison with the backup names
it. So each workload is held against its own present spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbooks.errors import Unavailable
from runbooks.records import Snapshot
from runbooks.site import Application, Workload
from tasks import gate
from tasks.clients.kubernetes import Api, Object
from tasks.waits import NotYet

CLAIM = ("v1", "PersistentVolumeClaim")
POD = ("v1", "Pod")
SLICE = ("discovery.k8s.io/v1", "EndpointSlice")
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")


def look(api: Api, application: Application, before: Sequence[Snapshot]) -> bool | NotYet:
    """True, or what is missing first, with the reason that the pods give. Reads only."""
    try:
        for problem in _problems(api, application, before):
            return NotYet(problem)
    except Unavailable as error:
        return NotYet(error.problem)
    return True


def _problems(api: Api, application: Application, before: Sequence[Snapshot]) -> Iterator[str]:
    for namespace in application.namespaces:
        yield from _claims(api, namespace, _unbound(before, namespace))
        yield from _workloads(api, namespace)
    gated = application.gate.services if application.gate else ()
    for workload in application.workloads:
        yield from _pods_ready(api, workload) if workload.service in gated else _endpoints(api, workload)


def _unbound(before: Sequence[Snapshot], namespace: str) -> set[str]:
    """Claims that waited for their first pod even before; they wait again."""
    claims = (o for s in before if s.namespace == namespace for o in s.objects if o.kind == CLAIM[1])
    return {o.name for o in claims if _phase(o.body) != "Bound"}


def _phase(body: Object) -> str:
    return str((body.get("status") or {}).get("phase", "Pending"))


def _claims(api: Api, namespace: str, unbound: set[str]) -> Iterator[str]:
    for claim in api.list(*CLAIM, namespace=namespace):
        name = claim["metadata"]["name"]
        if name not in unbound and _phase(claim) != "Bound":
            yield f"PVC {namespace}/{name} is {_phase(claim)}"


def _workloads(api: Api, namespace: str) -> Iterator[str]:
    for kind in WORKLOADS:
        for workload in api.list("apps/v1", kind, namespace=namespace):
            if (lack := lacks(kind, workload)) is not None:
                name = workload["metadata"]["name"]
                yield f"{kind} {namespace}/{name}: {lack}{_why(api, namespace, workload)}"


def lacks(kind: str, workload: Object) -> str | None:
    """What it lacks, or None. A status older than the spec says nothing about it."""
    status = workload.get("status") or {}
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return "not seen by its controller yet"
    if kind == "DaemonSet":
        ready, wanted = status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
    else:
        ready = status.get("availableReplicas" if kind == "Deployment" else "readyReplicas", 0)
        wanted = workload["spec"].get("replicas", 1)
    return None if ready >= wanted else f"{ready} of {wanted} ready"


def _why(api: Api, namespace: str, workload: Object) -> str:
    """Why it gets no pods, or what they wait for, such as " (orders-1: ImagePullBackOff)"."""
    labels = workload["spec"]["selector"].get("matchLabels") or {}
    pods = api.list(*POD, namespace=namespace, selector=",".join(f"{k}={v}" for k, v in labels.items()))
    refused = [str(c.get("message"))[:256] for c in (workload.get("status") or {}).get("conditions", ())
               if c["type"] == "ReplicaFailure" and c["status"] == "True"]  # fmt: skip
    said = [*refused, *sorted(f"{pod['metadata']['name']}: {why}" for pod in pods for why in reasons(pod))]
    return f" ({', '.join(said[:3])})" if said else ""


def reasons(pod: Object) -> Iterator[str]:
    """Why a pod is not ready: its containers' waiting reasons, or why it is not scheduled."""
    status = pod.get("status") or {}
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            yield str(waiting["reason"])
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield str(condition.get("message") or condition.get("reason") or "not scheduled")[:256]


def _pods_ready(api: Api, workload: Workload) -> Iterator[str]:
    """Behind a closed gate there are no endpoints, but ready pods."""
    pods = api.list(*POD, namespace=workload.namespace, selector=workload.selector)
    if not any(_is_ready(pod) for pod in pods):
        said = ", ".join(sorted({why for pod in pods for why in reasons(pod)})) or f"{len(pods)} pods"
        yield f"no ready pod for Service {workload.namespace}/{workload.service} ({said})"


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions", ())
    is_going = "deletionTimestamp" in pod["metadata"]
    return not is_going and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _endpoints(api: Api, workload: Workload) -> Iterator[str]:
    selector = f"kubernetes.io/service-name={workload.service}"
    if not gate.ready_endpoints(api.list(*SLICE, namespace=workload.namespace, selector=selector)):
        yield f"Service {workload.namespace}/{workload.service} has no ready endpoint"
