"""PodVolumeRestores: the copied files are written into the claim's directory, over whatever is in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.fakes import velero_disk
from tests.fakes.core import Core
from tests.fakes.kinds import PODS, VOLUME_RESTORES
from tests.fakes.pods import claims_of
from tests.fakes.store import Object, now
from tests.fakes.velero import NAMESPACE, label, node_agent_runs, phase, server, set_status


def begin_volume_restores(core: Core, restore: Object, pod: Object, saved: dict[str, Object], source: str) -> None:
    meta = restore["metadata"]
    for volume, backup in saved.items():
        new: Object = {
            "metadata": {
                "generateName": meta["name"] + "-", "namespace": NAMESPACE,
                "labels": {"velero.io/restore-name": label(meta["name"]), "velero.io/restore-uid": meta["uid"],
                           "velero.io/pod-uid": pod["metadata"]["uid"]},
                "ownerReferences": [{"apiVersion": "velero.io/v1", "kind": "Restore", "name": meta["name"],
                                     "uid": meta["uid"], "controller": True}],
            },
            "spec": {
                "backupStorageLocation": backup["spec"]["backupStorageLocation"],
                "pod": {key: pod["metadata"][key] for key in ("namespace", "name", "uid")} | {"kind": "Pod"},
                "repoIdentifier": "", "snapshotID": backup["status"]["snapshotID"], "sourceNamespace": source,
                "uploaderType": "kopia", "volume": volume,
            },
        }  # fmt: skip
        core.store.create(VOLUME_RESTORES, new, manager="velero-server")


def reconcile(core: Core) -> None:
    for one in core.store.list(VOLUME_RESTORES, NAMESPACE):
        if phase(one) in ("New", "InProgress") and server(core) and node_agent_runs(core):
            _restore(core, one)


def _restore(core: Core, one: Object) -> None:
    pod = core.store.find(PODS, one["spec"]["pod"]["namespace"], one["spec"]["pod"]["name"])
    if pod is None or not pod["spec"].get("nodeName") or not pod["spec"].get("initContainers"):
        return  # without the init container that waits for it, it is another pod of that name
    if phase(one) == "New":
        set_status(core, VOLUME_RESTORES, one, phase="InProgress", startTimestamp=now())
        core.timers.elapsed(("volume", one["metadata"]["uid"]), core.settings.volume_restore_seconds)
        return
    if not core.timers.elapsed(("volume", one["metadata"]["uid"]), core.settings.volume_restore_seconds):
        return
    claim = claims_of(pod)[one["spec"]["volume"]]
    source = velero_disk.snapshot(core, one["spec"]["snapshotID"])
    if claim in core.settings.lost_snapshots or not source.exists():
        why = f"data path restore failed: snapshot not found: {one['spec']['snapshotID']}"
        set_status(core, VOLUME_RESTORES, one, phase="Failed", message=why, completionTimestamp=now())
        return
    place = core.disk.bound(pod["metadata"]["namespace"], claim)
    shutil.copytree(source, place, dirs_exist_ok=True)
    _alter(place, core.settings.restore_files.get(claim, {}))
    _say_done(place, pod["spec"]["initContainers"][0]["args"][0])
    size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
    progress = {"totalBytes": size, "bytesDone": size}
    set_status(core, VOLUME_RESTORES, one, phase="Completed", completionTimestamp=now(), progress=progress)


def _alter(place: Path, files: dict[str, str | None]) -> None:
    for name, text in files.items():
        if text is None:
            (place / name).unlink(missing_ok=True)
        else:
            (place / name).write_text(text)


def _say_done(place: Path, restore_uid: str) -> None:
    """What the init container waits for; it stays there, since that container may not remove root's files."""
    shutil.rmtree(place / ".velero", ignore_errors=True)
    (place / ".velero").mkdir()
    (place / ".velero" / restore_uid).touch()
