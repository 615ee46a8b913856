"""Claims and volumes: bound when a pod wants them, protected while one uses them, kept or destroyed by policy."""

from __future__ import annotations

from typing import Any

from tests.fakes import admission
from tests.fakes.core import Core
from tests.fakes.kinds import CLAIMS, PODS, STORAGE_CLASSES, VOLUMES
from tests.fakes.pods import NODE, claims_of
from tests.fakes.store import Object

PROTECTION = "kubernetes.io/pvc-protection"
PROVISIONER = "rancher.io/local-path"


def reconcile(core: Core) -> None:
    for volume in core.store.list(VOLUMES):  # first: a released one makes room for the next claim of that name
        _volume(core, volume)
    used = _used(core)
    for claim in core.store.list(CLAIMS):
        key = (claim["metadata"]["namespace"], claim["metadata"]["name"])
        if claim["metadata"].get("deletionTimestamp"):
            if key not in used:
                core.store.amend(CLAIMS, claim, _unprotect)
        elif claim["status"].get("phase") != "Bound":
            _bind(core, claim, wanted=key in used)


def _used(core: Core) -> set[tuple[str, str]]:
    pods = core.store.list(PODS)
    return {(pod["metadata"]["namespace"], name) for pod in pods for name in claims_of(pod).values()}


def _unprotect(claim: Object) -> None:
    claim["metadata"]["finalizers"] = [one for one in claim["metadata"].get("finalizers", []) if one != PROTECTION]


def _bind(core: Core, claim: Object, *, wanted: bool) -> None:
    if name := claim["spec"].get("volumeName"):
        volume = core.store.find(VOLUMES, "", name)
        if volume is None or not _is_for(volume, claim):
            return
    elif not wanted or not core.timers.elapsed(("bind", claim["metadata"]["uid"]), core.settings.bind_seconds):
        return
    elif core.store.find(STORAGE_CLASSES, "", claim["spec"]["storageClassName"]) is None:
        return  # nobody feels responsible for it
    else:
        volume = _provision(core, claim)
    _tie(core, volume, claim)


def _is_for(volume: Object, claim: Object) -> bool:
    """Whether a volume is free, or kept for exactly this claim."""
    to, meta = volume["spec"].get("claimRef"), claim["metadata"]
    if to is None:
        return True
    named = (to.get("namespace"), to.get("name")) == (meta["namespace"], meta["name"])
    return named and to.get("uid") in (None, "", meta["uid"])


def _provision(core: Core, claim: Object) -> Object:
    meta, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{meta['uid']}"
    affinity = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}
    new: Object = {
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "local": {"path": str(core.disk.bound(meta["namespace"], meta["name"]))},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [affinity]}},
        },
    }
    admission.on_create(core.store, VOLUMES, new)
    return core.store.create(VOLUMES, new, manager="local-path-provisioner")


def _tie(core: Core, volume: Object, claim: Object) -> None:
    meta = claim["metadata"]
    core.disk.attach(volume["metadata"]["name"], meta["namespace"], meta["name"])
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta["namespace"],
                 "name": meta["name"], "uid": meta["uid"]}  # fmt: skip

    def bound(new: Object) -> None:
        new["spec"]["claimRef"] = reference
        new["status"] = {"phase": "Bound"}

    def satisfied(new: Object) -> None:
        annotations = new["metadata"].setdefault("annotations", {})
        annotations["pv.kubernetes.io/bind-completed"] = "yes"
        if not new["spec"].get("volumeName"):
            annotations |= {"pv.kubernetes.io/bound-by-controller": "yes",
                            "volume.kubernetes.io/selected-node": NODE,
                            "volume.kubernetes.io/storage-provisioner": PROVISIONER}  # fmt: skip
        new["spec"]["volumeName"] = volume["metadata"]["name"]
        new["status"] = {"phase": "Bound", "accessModes": new["spec"]["accessModes"],
                         "capacity": new["spec"]["resources"]["requests"]}  # fmt: skip

    core.store.amend(VOLUMES, volume, bound)
    core.store.amend(CLAIMS, claim, satisfied)


def _volume(core: Core, volume: Object) -> None:
    """Its phase follows its claim; released, it is kept or destroyed with its files."""
    reference, phase = volume["spec"].get("claimRef"), volume.get("status", {}).get("phase")
    meta = volume["metadata"]
    if not reference or not reference.get("uid"):
        if phase != "Available":
            core.store.amend(VOLUMES, volume, lambda new: _phase(new, "Available"))
        if meta.get("deletionTimestamp"):
            core.store.amend(VOLUMES, volume, lambda new: new["metadata"].pop("finalizers", None))
        return
    claim = core.store.find(CLAIMS, reference["namespace"], reference["name"])
    if claim is not None and claim["metadata"]["uid"] == reference["uid"]:
        return
    if phase == "Bound":
        core.disk.detach(meta["name"], reference["namespace"], reference["name"])
        core.store.amend(VOLUMES, volume, lambda new: _phase(new, "Released"))
    elif phase == "Released" and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
        core.disk.destroy(meta["name"])
        core.store.remove(VOLUMES, volume)
    elif meta.get("deletionTimestamp"):
        core.store.amend(VOLUMES, volume, lambda new: new["metadata"].pop("finalizers", None))


def _phase(volume: dict[str, Any], phase: str) -> None:
    volume["status"] = {"phase": phase}
