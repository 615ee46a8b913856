"""What Velero does to an object of a backup before it creates it, and to one that exists already."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.kinds import CLAIMS, PODS, SERVICES, VOLUMES, Resource
from tests.fakes.pods import RESTORE_WAIT, claims_of
from tests.fakes.store import Object, copied
from tests.fakes.velero import label

RESET = ("generateName", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp",
         "deletionGracePeriodSeconds", "ownerReferences")  # fmt: skip
BINDING = ("pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller",
           "volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner",
           "volume.kubernetes.io/selected-node")  # fmt: skip


def plain(obj: Object) -> Object:
    """Without the metadata that belongs to one life of the object, and without its status."""
    new = copied(obj)
    for key in RESET:
        new["metadata"].pop(key, None)
    new.pop("status", None)
    return new


def is_finished(resource: Resource, obj: Object) -> bool:
    status = obj.get("status", {})
    if resource == PODS:
        return status.get("phase") in ("Succeeded", "Failed")
    return resource.kind == "Job" and bool(status.get("completionTime"))


def prepared(resource: Resource, obj: Object, restore: Object, backed_up: set[str], *, provision: bool) -> Object:
    """backed_up: the pod's volumes that have a volume backup; provision: a claim gets a new, empty volume."""
    new = plain(obj)
    if resource == PODS:
        _pod(new, restore, backed_up)
    elif resource == SERVICES:
        _service(new, keep_ports=bool(restore["spec"].get("preserveNodePorts")))
    elif resource in (CLAIMS, VOLUMES):
        _unbind(new)
        if provision:
            new["spec"].pop("volumeName", None)
    return new


def labelled(obj: Object, restore: Object) -> Object:
    marks = {"velero.io/backup-name": label(restore["spec"]["backupName"]),
             "velero.io/restore-name": label(restore["metadata"]["name"])}  # fmt: skip
    obj["metadata"]["labels"] = (obj["metadata"].get("labels") or {}) | marks
    return obj


def _pod(pod: Object, restore: Object, backed_up: set[str]) -> None:
    spec = pod["spec"]
    spec.pop("nodeName", None)
    spec.pop("priority", None)
    kept = [one for one in spec.get("initContainers") or [] if one["name"] != RESTORE_WAIT]
    volumes = [volume for volume in claims_of(pod) if volume in backed_up]
    if volumes:
        wait = {"name": RESTORE_WAIT, "image": "velero/velero:v1.18.3", "args": [restore["metadata"]["uid"]],
                "command": ["/velero-restore-helper"],
                "volumeMounts": [{"name": one, "mountPath": f"/restores/{one}"} for one in volumes]}  # fmt: skip
        kept.insert(0, wait)
    if kept:
        spec["initContainers"] = kept
    else:
        spec.pop("initContainers", None)


def _service(service: Object, *, keep_ports: bool) -> None:
    spec = service["spec"]
    if spec.get("clusterIP") != "None":
        spec.pop("clusterIP", None)
        spec.pop("clusterIPs", None)
    if keep_ports:
        return
    asked = _asked_ports(service)
    for port in spec.get("ports", []):
        if (port["port"], port["protocol"]) not in asked:
            port.pop("nodePort", None)


def _asked_ports(service: Object) -> set[tuple[int, str]]:
    """Ports whose node port somebody asked for, by what the managed fields say."""
    found: set[tuple[int, str]] = set()
    for entry in service["metadata"].get("managedFields") or []:
        ports: dict[str, Any] = entry.get("fieldsV1", {}).get("f:spec", {}).get("f:ports", {})
        for key, fields in ports.items():
            if "f:nodePort" in fields:
                port = json.loads(key.removeprefix("k:"))
                found.add((port["port"], port["protocol"]))
    return found


def _unbind(obj: Object) -> None:
    annotations = obj["metadata"].get("annotations") or {}
    for key in BINDING:
        annotations.pop(key, None)
    for key in ("uid", "resourceVersion"):
        obj["spec"].get("claimRef", {}).pop(key, None)
