"""The application `orders` in a cluster: deployed and seeded once, then left to whatever happens to it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpx

from deployments.lab import images, kube, orders_image, postgres, route53
from deployments.lab.component import LabError, Proof, wait_for
from deployments.lab.proof import milliseconds
from deployments.lab.template import fill

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

NAMESPACE = "production"
MANIFESTS = Path(__file__).with_name("orders") / "manifests"
PODS = 4
STORAGE_CLASS = "local-path"
VELERO = "/apis/velero.io/v1/namespaces/velero"
ORDER = {"id": 12345, "customer": "ACME", "total": "199.90", "status": "paid"}
SCHEDULE = "orders-15m"
ENDED = {"Completed", "PartiallyFailed", "Failed", "FailedValidation"}
LEDGER = """
for month in 01 02 03 04 05 06 07 08 09 10 11 12; do
  [ -e /data/2026-$month.postings ] || seq 1 2000 | sed "s/^/2026-$month posting /" > /data/2026-$month.postings
done
[ -e /data/2026.ledger ] || echo "12 months" > /data/2026.ledger
"""


@dataclass(frozen=True)
class Orders:
    region: Region

    @property
    def name(self) -> str:
        return f"orders-{self.region.name}"

    def start(self, lab: Lab) -> None:
        """Only in a cluster that never had it: what a disaster took is for a recovery to bring back, not for `up`."""
        done = lab.path(self.region.name, "orders-deployed")
        if not done.exists():
            deploy(lab, self.region)
            seed(lab, self.region)
            kube.apply(lab, self.region, _filled(lab, "schedules.yaml"))
            done.touch()

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        url = f"http://{self.region.address}:{self.region.ports.orders}"
        answers(url)
        said = f"health UP, order 12345 as seeded, {len(_pods(lab, self.region))} pods, {milliseconds(begun)}"
        return Proof(self.name, self.region.name, url, None, None, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        port = self.region.ports.orders
        direct = {f"ORDERS_URL_{region.name.upper()}": f"http://{region.address}:{port}" for region in _running(lab)}
        return {"ORDERS_URL": f"http://{route53.ORDERS.rstrip('.')}:{port}", **direct}

    def stop(self, lab: Lab) -> None:
        """It ends with its cluster."""


def deploy(lab: Lab, region: Region) -> None:
    """Its objects are there and its pods run; they are ready only when they are seeded."""
    kube.apply(lab, region, _filled(lab, "production.yaml"))
    wait_for(
        lambda: _all_run(lab, region),
        what="pods of orders",
        seconds=60,
        hint=f"kubectl -n {NAMESPACE} describe pods",
    )


def seed(lab: Lab, region: Region, *, bulk_bytes: int = 0) -> None:
    """Database and volumes hold their first data, once; with *bulk_bytes* more on the volume. Every pod is ready."""
    program = ["python3.11", "-m", "orders", "seed", f"--bulk-bytes={bulk_bytes}"]
    kube.kubectl(lab, region, "exec", f"--namespace={NAMESPACE}", "deployment/orders", "--", *program, seconds=300)
    kube.kubectl(lab, region, "exec", f"--namespace={NAMESPACE}", "ledger-0", "--", "sh", "-c", LEDGER)
    for kind, name in (("deployments", "orders"), ("statefulsets", "ledger")):
        kube.wait_until_available(lab, region, NAMESPACE, name, kind=kind, seconds=60)


def first_backup(lab: Lab, region: Region) -> str:
    """The name of a completed backup by the schedule that meets the RPO; a new one unless there is one already.

    Raises: LabError when it does not complete."""
    done = [backup["metadata"]["name"] for backup in _backups(lab, region) if _phase(backup) == "Completed"]
    if done:
        return str(done[-1])
    schedule = kube.api(lab, region).get(f"{VELERO}/schedules/{SCHEDULE}")
    if schedule is None:
        raise LabError(f"cluster {region.name} has no schedule {SCHEDULE}", "dr lab up applies it with the application")
    name = f"orders-initial-{datetime.now(UTC):%Y%m%d%H%M%S}"
    backup = {
        "apiVersion": "velero.io/v1",
        "kind": "Backup",
        "metadata": {"name": name, "namespace": "velero", "labels": {"velero.io/schedule-name": SCHEDULE}},
        "spec": schedule["spec"]["template"],
    }
    kube.api(lab, region).create(f"{VELERO}/backups", backup)
    status = wait_for(lambda: _ended(lab, region, name), what=f"backup {name}", seconds=180, hint="is Velero running?")
    if status["phase"] != "Completed":
        raise LabError(f"backup {name}: {json.dumps(status)}", f"velero backup logs {name}")
    return name


def answers(url: str) -> bool:
    """Health, an order and an invoice are as a client expects them. Raises: LabError."""
    try:
        told = {path: httpx.get(f"{url}{path}", timeout=2) for path in ("/health", "/orders/12345", "/invoices/12345")}
    except httpx.HTTPError as error:
        raise LabError(f"orders at {url}: {error}", "dr lab status shows which part is down") from error
    bad = {path: f"{answer.status_code} {answer.text[:200]}" for path, answer in told.items() if answer.is_error}
    if bad or told["/orders/12345"].json() != ORDER:
        raise LabError(
            f"orders at {url}: {bad or told['/orders/12345'].text}", "dr lab status shows which part is down"
        )
    return True


def _running(lab: Lab) -> list[Region]:
    return [region for region in lab.regions.values() if lab.running(f"cluster-{region.name}")]


def _pods(lab: Lab, region: Region) -> list[kube.Object]:
    listed = kube.api(lab, region).get(f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app+in+(orders,ledger)")
    return list(listed["items"]) if listed else []


def _all_run(lab: Lab, region: Region) -> bool:
    phases = [pod["status"]["phase"] for pod in _pods(lab, region)]
    if len(phases) < PODS or set(phases) != {"Running"}:
        raise LabError(f"{len(phases)} of {PODS} pods: {', '.join(phases)}", "")
    return True


def _backups(lab: Lab, region: Region) -> list[kube.Object]:
    listed = kube.api(lab, region).get(f"{VELERO}/backups?labelSelector=velero.io/schedule-name={SCHEDULE}")
    return list(listed["items"]) if listed else []


def _phase(backup: dict[str, Any]) -> str:
    return str(backup.get("status", {}).get("phase", "New"))


def _ended(lab: Lab, region: Region, name: str) -> dict[str, Any]:
    """The status of a backup that is over. Raises: LabError with the phase of one that is not."""
    backup = next(found for found in _backups(lab, region) if found["metadata"]["name"] == name)
    if _phase(backup) not in ENDED:
        raise LabError(f"phase {_phase(backup)}", "")
    return dict(backup["status"])


def _filled(lab: Lab, manifest: str) -> str:
    values = {
        "ORDERS_IMAGE": orders_image.PRESENT,
        "BUSYBOX_IMAGE": images.BUSYBOX,
        "STORAGE_CLASS": STORAGE_CLASS,
        "DB_PASSWORD": postgres.password(lab, "orders"),
    }
    return fill(MANIFESTS / manifest, values)
