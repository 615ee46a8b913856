"""Backup objects: New → InProgress → Finalizing → Completed, with contents and a copy of each mounted volume."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import velero_disk, velero_scope
from tests.fakes.core import Core
from tests.fakes.kinds import ALL, BACKUPS, CLAIMS, LOCATIONS, NAMESPACES, PODS, VOLUME_BACKUPS, VOLUMES, Resource
from tests.fakes.pods import claims_of
from tests.fakes.selectors import labels_of
from tests.fakes.store import Object, now
from tests.fakes.velero import NAMESPACE, STORAGE_LOCATION, label, later, node_agent_runs, phase, server, set_status
from tests.fakes.velero_disk import Items

EXCLUDED = "velero.io/exclude-from-backup"
INTERRUPTED = 'found a backup with status "InProgress" during the server starting, mark it as "Failed"'


@dataclass
class Work:
    """What is remembered of a backup under way."""

    server: str
    errors: list[str] = field(default_factory=list)
    items: int = 0


def reconcile(core: Core) -> None:
    running = server(core)
    if running is None:
        return
    for backup in core.store.list(BACKUPS, NAMESPACE):
        match phase(backup):
            case "New":
                _admit(core, backup)
            case "Queued":
                set_status(core, BACKUPS, backup, phase="ReadyToStart")
            case "ReadyToStart":
                if core.timers.elapsed(("queue", backup["metadata"]["uid"]), core.settings.queue_seconds):
                    _begin(core, backup, running)
            case "InProgress":
                _go_on(core, backup, running)
            case "Finalizing" | "FinalizingPartiallyFailed":
                _end(core, backup)


def _admit(core: Core, backup: Object) -> None:
    core.timers.elapsed(("queue", backup["metadata"]["uid"]), core.settings.queue_seconds)
    set_status(core, BACKUPS, backup, phase="Queued", queuePosition=1)


def _begin(core: Core, backup: Object, running: str) -> None:
    asked = backup["spec"].get("storageLocation") or "default"
    location = core.store.find(LOCATIONS, NAMESPACE, asked)
    if problem := _location_problem(location, asked):
        set_status(core, BACKUPS, backup, phase="FailedValidation", validationErrors=[problem], version=1)
        return
    ttl = backup["spec"].get("ttl") or "720h0m0s"

    def complete(new: Object) -> None:
        new["spec"] |= {"storageLocation": asked, "ttl": ttl, "hooks": new["spec"].get("hooks") or {}}
        new["spec"].setdefault("defaultVolumesToFsBackup", True)
        new["metadata"].setdefault("labels", {})[STORAGE_LOCATION] = label(asked)
        new["status"] = {"phase": "InProgress", "startTimestamp": now(), "expiration": later(ttl), "version": 1,
                         "formatVersion": "1.1.0"}  # fmt: skip

    started = core.store.amend(BACKUPS, backup, complete)
    work = core.notes[("backup", backup["metadata"]["uid"])] = Work(running)
    core.timers.elapsed(("backup", backup["metadata"]["uid"]), core.settings.backup_seconds)
    items = collect(core, started["spec"])
    work.items = len(items)
    velero_disk.write_contents(core, backup["metadata"]["name"], items)
    _back_up_volumes(core, started, items, work)
    count = {"totalItems": len(items), "itemsBackedUp": len(items)}
    set_status(core, BACKUPS, started, progress=count)


def _location_problem(location: Object | None, name: str) -> str | None:
    if location is None:
        return (
            f'an existing backup storage location was not specified at backup creation time and "{name}" was not found'
        )
    if location.get("status", {}).get("phase") == "Unavailable":
        return f"backup can't be created because BackupStorageLocation {name} is in Unavailable status."
    if location["spec"].get("accessMode") == "ReadOnly":
        return f"backup can't be created because backup storage location {name} is currently in read-only mode"
    return None


def collect(core: Core, spec: Object) -> Items:
    """Every namespaced object in scope, its namespace, the volumes of its claims."""
    items: Items = {}
    for resource in ALL:
        if not resource.namespaced or resource.stored_as or "list" not in resource.verbs:
            continue
        for obj in core.store.list(resource):
            if _wanted(core, spec, resource, obj):
                _take(items, resource, obj)
    for namespace in {namespace for _, namespace, _ in items}:
        _take(items, NAMESPACES, core.store.get(NAMESPACES, "", namespace))
    for (resource_name, _, _), obj in list(items.items()):
        volume = obj["spec"].get("volumeName") if resource_name == CLAIMS.full else None
        if volume and (found := core.store.find(VOLUMES, "", volume)):
            _take(items, VOLUMES, found)
    return items


def _wanted(core: Core, spec: Object, resource: Resource, obj: Object) -> bool:
    return (
        velero_scope.has_namespace(spec, obj["metadata"]["namespace"])
        and velero_scope.has_resource(spec, resource.full)
        and velero_scope.has_labels(spec, obj)
        and labels_of(obj).get(EXCLUDED) != "true"
        and f"{resource.full}/{obj['metadata']['name']}" not in core.settings.backup_omits
    )


def _take(items: Items, resource: Resource, obj: Object) -> None:
    meta = obj["metadata"]
    items[(resource.full, meta.get("namespace", "") if resource.namespaced else "", meta["name"])] = obj


def _back_up_volumes(core: Core, backup: Object, items: Items, work: Work) -> None:
    """Of the claims that a running pod mounts, each once."""
    done: set[tuple[str, str]] = set()
    for (resource, namespace, _), pod in sorted(items.items()):
        if resource != PODS.full or pod["status"].get("phase") != "Running":
            continue
        for volume, claim in claims_of(pod).items():
            if not _opted_in(backup, pod, volume) or (namespace, claim) in done:
                continue
            if claim in core.settings.backup_omits_claims:
                continue
            done.add((namespace, claim))
            if not node_agent_runs(core):
                work.errors.append(f"daemonset pod not found in running state in node {pod['spec']['nodeName']}")
            elif not _copy(core, backup, pod, volume, claim):
                work.errors.append(f"pod volume backup failed: data path backup failed: volume {volume}")


def _opted_in(backup: Object, pod: Object, volume: str) -> bool:
    notes = pod["metadata"].get("annotations") or {}
    if backup["spec"]["defaultVolumesToFsBackup"]:
        return volume not in notes.get("backup.velero.io/backup-volumes-excludes", "").split(",")
    return volume in notes.get("backup.velero.io/backup-volumes", "").split(",")


def _copy(core: Core, backup: Object, pod: Object, volume: str, claim: str) -> bool:
    meta, place = backup["metadata"], core.disk.bound(pod["metadata"]["namespace"], claim)
    pvc = core.store.get(CLAIMS, pod["metadata"]["namespace"], claim)
    tags = {"backup": meta["name"], "backup-uid": meta["uid"], "ns": pod["metadata"]["namespace"],
            "pod": pod["metadata"]["name"], "pod-uid": pod["metadata"]["uid"], "pvc-uid": pvc["metadata"]["uid"],
            "volume": volume}  # fmt: skip
    new: Object = {
        "metadata": {
            "generateName": meta["name"] + "-", "namespace": NAMESPACE,
            "labels": {"velero.io/backup-name": label(meta["name"]), "velero.io/backup-uid": meta["uid"],
                       "velero.io/pvc-uid": pvc["metadata"]["uid"]},
            "annotations": {"velero.io/pvc-name": claim},
            "ownerReferences": [{"apiVersion": "velero.io/v1", "kind": "Backup", "name": meta["name"],
                                 "uid": meta["uid"], "controller": True}],
        },
        "spec": {
            "backupStorageLocation": backup["spec"]["storageLocation"], "node": pod["spec"]["nodeName"],
            "pod": {key: pod["metadata"][key] for key in ("namespace", "name", "uid")} | {"kind": "Pod"},
            "repoIdentifier": "", "tags": tags, "uploaderType": "kopia", "volume": volume,
        },
    }  # fmt: skip
    created = core.store.create(VOLUME_BACKUPS, new, manager="velero-server")
    set_status(core, VOLUME_BACKUPS, created, phase="InProgress", startTimestamp=now())
    if claim in core.settings.backup_fails_claims:
        told = {"message": "data path backup failed", "completionTimestamp": now()}
        set_status(core, VOLUME_BACKUPS, created, phase="Failed", **told)
        return False
    number = uuid.uuid4().hex
    shutil.copytree(place, velero_disk.snapshot(core, number))
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    done: dict[str, Any] = {"completionTimestamp": now(), "path": str(place), "snapshotID": number,
                            "progress": {"totalBytes": size, "bytesDone": size}}  # fmt: skip
    set_status(core, VOLUME_BACKUPS, created, phase="Completed", **done)
    return True


def _go_on(core: Core, backup: Object, running: str) -> None:
    uid = backup["metadata"]["uid"]
    work: Work | None = core.notes.get(("backup", uid))
    if work is None or work.server != running:
        set_status(core, BACKUPS, backup, phase="Failed", failureReason=INTERRUPTED, completionTimestamp=now())
        return
    if core.settings.backup_phase == "InProgress" or not core.timers.elapsed(
        ("backup", uid), core.settings.backup_seconds
    ):
        return
    if core.settings.backup_phase == "Failed":
        why = "rpc error: code = Unknown desc = error putting object"
        set_status(core, BACKUPS, backup, phase="Failed", failureReason=why, completionTimestamp=now())
        return
    if core.settings.backup_phase == "PartiallyFailed":
        work.errors.append("error executing custom action: as the setting backup_phase says")
    set_status(core, BACKUPS, backup, phase="FinalizingPartiallyFailed" if work.errors else "Finalizing")


def _end(core: Core, backup: Object) -> None:
    name, work = backup["metadata"]["name"], core.notes[("backup", backup["metadata"]["uid"])]
    results = {"errors": {"velero": work.errors} if work.errors else {}, "warnings": {}}
    velero_disk.write_json(core, "BackupResults", name, results)
    velero_disk.write_log(core, "BackupLog", name, [f'time="{now()}" level=info msg="Backed up {work.items} items"'])
    items = [(velero_scope.resource_of(resource), namespace, one, "")
             for resource, namespace, one in velero_disk.read_contents(core, name)]  # fmt: skip
    velero_disk.write_json(core, "BackupResourceList", name, velero_disk.listed(items))
    counts = {"errors": len(work.errors)} if work.errors else {}
    end = "PartiallyFailed" if work.errors else "Completed"
    set_status(core, BACKUPS, backup, phase=end, completionTimestamp=now(), hookStatus={}, **counts)
