"""The scheduler and the kubelet: a pod waits for its claims and its init containers, starts, becomes ready, ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tests.fakes.core import Core
from tests.fakes.kinds import CLAIMS, PODS
from tests.fakes.store import Object, now

NODE = "node-a"
RESTORE_WAIT = "restore-wait"  # Velero's init container: it ends when the volume's files are there

# What an HTTP readiness probe of a container would answer; set by whoever serves the pods.
Probe = Callable[[Core, Object, str], bool]


def claims_of(pod: Object) -> dict[str, str]:
    """The claims that a pod mounts, by the name of its volume."""
    volumes = pod["spec"].get("volumes") or []
    return {one["name"]: one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}


def mounted(core: Core, pod: Object) -> Path | None:
    """The directory of the first claim that a pod mounts."""
    for claim in claims_of(pod).values():
        return core.disk.bound(pod["metadata"]["namespace"], claim)
    return None


def kubelet(probe: Probe) -> Callable[[Core], None]:
    def reconcile(core: Core) -> None:
        for pod in core.store.list(PODS):
            if pod["metadata"].get("deletionTimestamp"):
                _end(core, pod)
            elif pod["spec"].get("nodeName") is None:
                _schedule(core, pod)
            else:
                _run(core, pod, probe)

    return reconcile


def _end(core: Core, pod: Object) -> None:
    if core.timers.elapsed(("end", pod["metadata"]["uid"]), core.settings.pod_termination_seconds):
        core.store.remove(PODS, pod)


def _schedule(core: Core, pod: Object) -> None:
    namespace = pod["metadata"]["namespace"]
    for name in claims_of(pod).values():
        claim = core.store.find(CLAIMS, namespace, name)
        if claim is None:
            _condition(core, pod, "PodScheduled", "Unschedulable", f'persistentvolumeclaim "{name}" not found')
            return
        if claim.get("status", {}).get("phase") != "Bound":
            _condition(core, pod, "PodScheduled", "Unschedulable", "pod has unbound immediate PersistentVolumeClaims")
            return

    def place(new: Object) -> None:
        new["spec"]["nodeName"] = NODE
        new["status"] |= {"conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now()}],
                          "hostIP": "10.200.1.2"}  # fmt: skip

    core.store.amend(PODS, pod, place)


def _condition(core: Core, pod: Object, kind: str, reason: str, message: str) -> None:
    one = {"type": kind, "status": "False", "reason": reason, "message": message}
    core.store.amend(PODS, pod, lambda new: new["status"].update(conditions=[one]))


def _run(core: Core, pod: Object, probe: Probe) -> None:
    waiting, ready = _seen(core, pod, probe)
    known, seen = ("shown", pod["metadata"]["uid"]), (pod["metadata"]["resourceVersion"], waiting, ready)
    if core.notes.get(known) != seen:
        shown = core.store.amend(PODS, pod, lambda new: _show(new, waiting, ready=ready))
        core.notes[known] = (shown["metadata"]["resourceVersion"], waiting, ready)


def _seen(core: Core, pod: Object, probe: Probe) -> tuple[str | None, bool]:
    """What its containers wait for, and whether they are ready."""
    if not _initialised(core, pod):
        return "Init", False
    if waiting := _unpullable(core, pod):
        return waiting, False
    warm = core.timers.elapsed(("ready", pod["metadata"]["uid"]), core.settings.ready_seconds)
    return None, warm and all(_answers(core, pod, container, probe) for container in pod["spec"]["containers"])


def _initialised(core: Core, pod: Object) -> bool:
    """Velero's init container looks into the volume for the file that its node-agent leaves when it is done."""
    wait = next((one for one in pod["spec"].get("initContainers") or [] if one["name"] == RESTORE_WAIT), None)
    if wait is None or pod["status"].get("phase") == "Running":
        return True
    mounts = {mount["name"] for mount in wait["volumeMounts"]}
    for volume, claim in claims_of(pod).items():
        done = core.disk.bound(pod["metadata"]["namespace"], claim) / ".velero" / wait["args"][0]
        if volume in mounts and not done.exists():
            return False
    return True


def _unpullable(core: Core, pod: Object) -> str | None:
    wrong = core.settings.unpullable
    missing = wrong and any(wrong in container["image"] for container in pod["spec"]["containers"])
    return "ErrImageNeverPull" if missing else None


def _answers(core: Core, pod: Object, container: Object, probe: Probe) -> bool:
    http = container.get("readinessProbe", {}).get("httpGet")
    return http is None or probe(core, pod, http.get("path", "/"))


def _show(new: Object, waiting: str | None, *, ready: bool) -> None:
    status, initialised = new["status"], waiting != "Init"
    running = waiting is None
    status["phase"] = "Running" if running else "Pending"
    status.setdefault("startTime", now())
    if running or initialised:
        status.setdefault("podIP", f"10.244.1.{int(new['metadata']['uid'][:2], 16)}")
        status.setdefault("podIPs", [{"ip": status["podIP"]}])
    old = {one["type"]: one for one in status.get("conditions", [])}
    conditions = {"Initialized": initialised, "Ready": ready, "ContainersReady": ready, "PodScheduled": True}
    status["conditions"] = [_judged(kind, value, old.get(kind)) for kind, value in conditions.items()]
    known = {one["name"]: one for one in status.get("containerStatuses", [])}
    status["containerStatuses"] = [
        _container(one, known.get(one["name"]), "PodInitializing" if not initialised else waiting, ready)
        for one in new["spec"]["containers"]
    ]
    if waits := new["spec"].get("initContainers"):
        status["initContainerStatuses"] = [
            {"name": one["name"], "image": one.get("image", ""), "ready": initialised, "restartCount": 0,
             "state": {"terminated": {"exitCode": 0, "reason": "Completed"}} if initialised else {"running": {}}}
            for one in waits
        ]  # fmt: skip


def _judged(kind: str, value: bool, before: Object | None) -> Object:
    status = str(value)
    if before and before["status"] == status and "lastTransitionTime" in before:
        return before
    reason = {} if value else {"reason": "ContainersNotReady" if "eady" in kind else "ContainersNotInitialized"}
    return {"type": kind, "status": status, "lastTransitionTime": now(), **reason}


def _container(one: Object, before: Object | None, waiting: str | None, ready: bool) -> Object:
    digest = hashlib.sha256(one["image"].encode()).hexdigest()
    shown = {"name": one["name"], "image": one["image"], "imageID": f"sha256:{digest}", "restartCount": 0,
             "ready": ready, "started": waiting is None}  # fmt: skip
    if waiting is not None:
        return shown | {"state": {"waiting": {"reason": waiting}}}
    started = (before or {}).get("state", {}).get("running", {}).get("startedAt", now())
    return shown | {"state": {"running": {"startedAt": started}}, "containerID": f"containerd://{one['name']}"}
