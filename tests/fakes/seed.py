"""What the world of most tests holds: Velero, and the lab's own application with its first data and a backup of it."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from runbooks.model import now
from runbooks.records import BackupState, FileManifest, FileRecord
from tests.fakes.fake_world import World
from tests.fakes.nursery import ROOT

RBAC = ROOT / "deployments" / "server" / "rbac.yaml"
MANIFESTS = ROOT / "deployments" / "lab" / "orders" / "manifests"
VALUES = {
    "@DB_PASSWORD@": "the-password-of-orders",
    "@STORAGE_CLASS@": "standard",
    "@ORDERS_IMAGE@": "lab.local/orders:1",
    "@BUSYBOX_IMAGE@": "lab.local/busybox:1",
}
INVOICES = range(12_341, 12_351)
LEFT_OUT = ("markers/", ".velero/")  # what is written all the time, and what Velero leaves in a restored volume
CLAIMS = ("invoices", "data-ledger-0")
_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "ServiceAccount": "serviceaccounts", "ConfigMap": "configmaps",
    "Secret": "secrets", "PersistentVolumeClaim": "persistentvolumeclaims", "Service": "services",
    "Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets", "CronJob": "cronjobs",
    "PodDisruptionBudget": "poddisruptionbudgets", "Role": "roles", "RoleBinding": "rolebindings",
    "BackupStorageLocation": "backupstoragelocations", "Schedule": "schedules", "Backup": "backups",
    "Restore": "restores", "Coupon": "coupons",
}  # fmt: skip


def path(obj: dict[str, Any]) -> str:
    """Where the API takes objects of this kind."""
    plural, version = _PATHS[obj["kind"]], obj["apiVersion"]
    if plural.startswith("/"):
        return plural
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{obj['metadata']['namespace']}/{plural}"


def create(world: World, obj: dict[str, Any]) -> dict[str, Any]:
    created: dict[str, Any] = world.api("POST", path(obj), obj)
    return created


def everything(world: World) -> None:
    """Velero, the application with its data, and our accounts with the rights of rbac.yaml; all ready."""
    velero(world)
    application(world)
    rights(world)


def rights(world: World) -> None:
    """From now on the runner may do what rbac.yaml grants, and nothing else."""
    for obj in _objects(RBAC):
        create(world, obj)
    world.set(rbac=True)


def velero(world: World) -> None:
    for obj in (*_VELERO, *_objects(MANIFESTS / "schedules.yaml")):
        create(world, obj)
    location = "/apis/velero.io/v1/namespaces/velero/backupstoragelocations/default"
    world.wait(lambda: world.api("GET", location).get("status", {}).get("phase"), "Velero")


def application(world: World) -> None:
    for obj in _objects(MANIFESTS / "production.yaml"):
        create(world, obj)
    create(world, {"apiVersion": "shop.example/v1", "kind": "Coupon", "spec": {"percent": 10},
                   "metadata": {"name": "welcome", "namespace": "production"}})  # fmt: skip
    volumes = [world.volume("production", claim) for claim in CLAIMS]
    world.wait(lambda: all(volume.is_dir() for volume in volumes), "the volumes")
    fill(*volumes)
    wait_until_ready(world)


def fill(invoices: Path, ledger: Path) -> None:
    """The first data; the file that says that it is complete comes last."""
    (ledger / "2026.ledger").write_text("2026-01-09 12345 199.90\n")
    (invoices / "terms.txt").write_text("payable within 30 days\n")  # the application does not miss it
    (invoices / "invoices").mkdir()
    (invoices / "markers").mkdir()
    for number in INVOICES:
        (invoices / "invoices" / f"{number}.txt").write_text(f"invoice {number}\n" * 20)
    (invoices / "seed.json").write_text(json.dumps({"invoices": len(INVOICES)}))


def wait_until_ready(world: World, seconds: float = 10) -> None:
    sets = ("deployments/orders", "statefulsets/ledger")

    def ready() -> bool:
        found = [world.find(f"/apis/apps/v1/namespaces/production/{one}") for one in sets]
        return all(one and one["status"].get("readyReplicas", 0) == one["spec"]["replicas"] for one in found)

    world.wait(ready, "the application", seconds)


@dataclass(frozen=True)
class Taken:
    backup: dict[str, Any]
    state: BackupState


def back_up(world: World, name: str, records: Path | None = None, *, schedule: str | None = "orders-15m") -> Taken:
    """A backup that has ended, and the observer's record of the files that it should hold (written to *records*)."""
    labels = {"velero.io/schedule-name": schedule} if schedule else {}
    started = manifests(world)
    spec = {"includedNamespaces": ["production"], "ttl": "72h0m0s", "storageLocation": "default"}
    meta = {"name": name, "namespace": "velero", "labels": labels}
    created = create(world, {"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": meta, "spec": spec})
    where = f"{path(created)}/{name}"

    def ended() -> dict[str, Any] | None:
        seen: dict[str, Any] = world.api("GET", where)
        return seen if "completionTimestamp" in seen.get("status", {}) else None

    backup = world.wait(ended, f"backup {name}")
    assert backup is not None
    state = BackupState(backup=name, uid=backup["metadata"]["uid"], started=started, ended=manifests(world))
    if records is not None:
        record(state, records)
    return Taken(backup, state)


def record(state: BackupState, records: Path) -> None:
    records.mkdir(parents=True, exist_ok=True)
    (records / f"{state.backup}.json").write_text(state.model_dump_json())


def manifests(world: World) -> tuple[FileManifest, ...]:
    return tuple(manifest(world, claim) for claim in CLAIMS)


def manifest(world: World, claim: str) -> FileManifest:
    """What a command in the pod would list, without the markers."""
    root, taken = world.volume("production", claim), now()
    names = sorted(file for file in root.rglob("*") if file.is_file())
    files = {str(file.relative_to(root)): _record(file) for file in names}
    kept = {name: record for name, record in files.items() if not name.startswith(LEFT_OUT)}
    return FileManifest(store=f"volume:{claim}", taken_at=taken, files=kept)


def _record(file: Path) -> FileRecord:
    content, seconds = file.read_bytes(), int(file.stat().st_mtime)
    digest = hashlib.sha256(content).hexdigest()
    return FileRecord(size_bytes=len(content), sha256=digest, modified_at=datetime.fromtimestamp(seconds, UTC))


@functools.cache
def _objects(file: Path) -> tuple[dict[str, Any], ...]:
    """Read once: each world gets the same."""
    text = file.read_text()
    for key, value in VALUES.items():
        text = text.replace(key, value)
    return tuple(one for one in yaml.safe_load_all(text) if one)


def _velero_object(kind: str, name: str, api: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "velero"}, **rest}


def _pods(label: str, image: str) -> dict[str, Any]:
    labels = {"deploy": label, "name": label, "component": "velero"}
    return {
        "selector": {"matchLabels": {"deploy": label}},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": label, "image": image}]}},
    }


_VELERO: tuple[dict[str, Any], ...] = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}},
    _velero_object("Deployment", "velero", "apps/v1", spec=_pods("velero", "velero/velero:v1.18.3")),
    _velero_object("DaemonSet", "node-agent", "apps/v1", spec=_pods("node-agent", "velero/velero:v1.18.3")),
    _velero_object(
        "BackupStorageLocation", "default", "velero.io/v1",
        spec={"provider": "aws", "default": True, "objectStorage": {"bucket": "velero"}, "accessMode": "ReadWrite"},
    ),
)  # fmt: skip
