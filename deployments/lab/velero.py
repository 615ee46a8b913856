"""Velero: its server and node-agent in the cluster, and the backup storage location in the region's bucket."""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import TYPE_CHECKING

import yaml

from deployments.lab import cluster_identity, kube, object_store
from deployments.lab.component import LabError, Proof, wait_for
from deployments.lab.images import VELERO, VELERO_AWS
from deployments.lab.proof import milliseconds

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

NAMESPACE = "velero"
LOCATION = "default"
ESTABLISHED = ("--for=condition=Established", "customresourcedefinition", "--selector=component=velero")
SERVER_OPTIONS = ("--client-qps=100", "--client-burst=200", "--client-page-size=500")
"""With the default of 20 requests a second, a restore of a few dozen objects waits for itself."""


@dataclass(frozen=True)
class Velero:
    """The server with its AWS plugin, the node-agent, and the location `default`, validated by Velero."""

    region: Region

    @property
    def name(self) -> str:
        return f"velero-{self.region.name}"

    def start(self, lab: Lab) -> None:
        manifests = _manifests(lab, self.region)
        kinds = [each for each in manifests if each["kind"] == "CustomResourceDefinition"]
        kube.apply(lab, self.region, yaml.safe_dump_all(kinds))
        kube.kubectl(lab, self.region, "wait", *ESTABLISHED, "--timeout=60s")
        kube.apply(lab, self.region, yaml.safe_dump_all([each for each in manifests if each not in kinds]))
        for kind, name in (("deployments", "velero"), ("daemonsets", "node-agent")):
            kube.wait_until_available(lab, self.region, NAMESPACE, name, kind=kind, seconds=120)
        self._wait_until_available(lab)

    def prove(self, lab: Lab) -> Proof:
        """The server answers a request of its own kind: a presigned address for the contents of the bucket."""
        begun = monotonic()
        self._wait_until_available(lab)
        api = kube.api(lab, self.region)
        folder = f"/apis/velero.io/v1/namespaces/{NAMESPACE}/serverstatusrequests"
        asked = {"apiVersion": "velero.io/v1", "kind": "ServerStatusRequest", "metadata": {"generateName": "dr-lab-"}}
        made = api.create(folder, {**asked, "spec": {}}) or {}
        one = f"{folder}/{made['metadata']['name']}"
        status = wait_for(
            lambda: (api.get(one) or {}).get("status") or None,
            what=f"answer of {self.name}",
            seconds=20,
            hint="kubectl -n velero logs deploy/velero",
        )
        api.delete(one)
        said = f"server {status['serverVersion']} answered, location {LOCATION} Available, {milliseconds(begun)}"
        return Proof(self.name, self.region.name, f"{self.region.s3_url}/velero", None, None, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {}

    def stop(self, lab: Lab) -> None:
        """It lives and dies with its cluster."""

    def _wait_until_available(self, lab: Lab) -> None:
        api = kube.api(lab, self.region)
        path = f"/apis/velero.io/v1/namespaces/{NAMESPACE}/backupstoragelocations/{LOCATION}"
        wait_for(
            lambda: _is_available(api.get(path)),
            what=f"backup storage location {LOCATION} of {self.name}",
            seconds=60,
            hint="velero backup-location get; is S3 up? dr lab status",
        )


def _is_available(location: kube.Object | None) -> bool:
    status = location.get("status", {}) if location else {}
    if status.get("phase") != "Available":
        raise LabError(f"{status.get('phase', 'not validated yet')} {status.get('message', '')}".strip(), "")
    return True


def _manifests(lab: Lab, region: Region) -> list[kube.Object]:
    """What `velero install` would create, in its own words, with the lab's differences."""
    keys = object_store.identity(lab, f"velero-{region.name}")
    secret = f"[default]\naws_access_key_id={keys.access_key}\naws_secret_access_key={keys.secret_key}\n"
    with NamedTemporaryFile("w", dir=lab.folder("secrets"), prefix="velero-") as credentials:
        credentials.write(secret)
        credentials.flush()
        config = cluster_identity.kubeconfig(lab, region, "admin")
        text = lab.run([str(lab.bin / "velero"), f"--kubeconfig={config}", *_install(region, credentials.name)])
    return [_adapted(each) for each in yaml.safe_load_all(text) for each in each.get("items", [each])]


def _install(region: Region, credentials: str) -> list[str]:
    nothing = [f"--{pod}-pod-{what}=0" for pod in ("velero", "node-agent") for what in LIMITS]
    return [
        "install",
        "--dry-run",
        "--output=yaml",
        "--provider=aws",
        f"--plugins={VELERO_AWS}",
        f"--image={VELERO}",
        "--bucket=velero",
        f"--secret-file={credentials}",
        "--use-volume-snapshots=false",
        "--use-node-agent",
        "--default-volumes-to-fs-backup",
        f"--backup-location-config=region=us-east-1,s3ForcePathStyle=true,s3Url={region.s3_url}",
        *nothing,
    ]


LIMITS = ("cpu-request", "mem-request", "cpu-limit", "mem-limit")


def _adapted(each: kube.Object) -> kube.Object:
    if each["kind"] == "BackupStorageLocation":
        # Shorter than the defaults of a minute: a drill in the lab shall not wait for a clock.
        each["spec"] |= {"validationFrequency": "10s", "backupSyncPeriod": "20s"}
    if each["kind"] == "Deployment":
        each["spec"]["template"]["spec"]["containers"][0]["args"] += SERVER_OPTIONS
    return each
