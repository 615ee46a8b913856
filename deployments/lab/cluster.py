"""Kubernetes in a region, below a first process of its own: killing that is the loss of the cluster alone."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import cgroups, cluster_identity, cluster_settings, images, kube, namespaces, process
from deployments.lab.cluster_parts import PARTS, launch
from deployments.lab.component import LabError, Proof, wait_for
from deployments.lab.lab import PROJECT, Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deployments.lab.region_address import Region

NAMESPACES = "".join(
    f"---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n" for name in ("dr-runbooks", "velero")
)
SLOW_MACHINE_SECONDS = 120
"""Each part takes 5 s on two idle cores."""
RBAC = PROJECT / "deployments" / "server" / "rbac.yaml"
FORGET_RULES = "for table in filter nat mangle raw; do iptables -w -t $table -F; iptables -w -t $table -X; done"


@dataclass(frozen=True)
class Cluster:
    """etcd, the control plane and one node. Its images are imported: there is no registry."""

    region: Region
    packed: Callable[[], list[images.Image]]

    @property
    def name(self) -> str:
        return f"cluster-{self.region.name}"

    def start(self, lab: Lab) -> None:
        """Mends a cluster that lives; a dead one comes back empty, with a fresh etcd."""
        if lab.running(self.name) is None:
            self._clear_away(lab)
        cgroups.make(self.region.cgroup)
        cluster_identity.write(lab, self.region)
        cluster_settings.write(lab, self.region)
        namespaces.first_process(lab, self.name, self._spec(lab), inside=self.region.name, flags=[])
        with ThreadPoolExecutor(2) as pool:
            node = pool.submit(self._start_containerd, lab)
            self._start_control_plane(lab)
            node.result()
        self._start_node(lab)
        kube.apply(lab, self.region, NAMESPACES)
        kube.apply(lab, self.region, RBAC.read_text())
        cluster_identity.write_accounts(lab, self.region)

    def prove(self, lab: Lab) -> Proof:
        started = monotonic()
        first = lab.running(self.name)
        if first is None:
            raise LabError(f"{self.name}: its first process is dead", "dr lab up starts a fresh cluster")
        missing = [part for part in PARTS if lab.running(f"{part}-{self.region.name}") is None]
        if missing:
            raise LabError(f"{self.name}: {', '.join(missing)} ended", "dr lab up mends it")
        self._is_ready(lab)
        self._write_and_read(lab)
        said = f"node Ready; a ConfigMap created, read and deleted, {1000 * (monotonic() - started):.0f} ms"
        memory = process.memory_bytes(process.descendants(first.pid))
        return Proof(self.name, self.region.name, self.region.api_url, first.pid, memory, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        first = lab.running(self.name)
        letter = self.region.name.upper()
        kubeconfig = cluster_identity.kubeconfig(lab, self.region, "admin")
        return {f"CLUSTER_PID_{letter}": str(first.pid), f"KUBECONFIG_{letter}": str(kubeconfig)} if first else {}

    def stop(self, lab: Lab) -> None:
        namespaces.end(lab, self.name)
        for part in PARTS:
            lab.kill(f"{part}-{self.region.name}")
        cgroups.remove(self.region.cgroup)

    def _spec(self, lab: Lab) -> dict[str, object]:
        """node-agent asks for mounts that propagate below /var/lib/kubelet, so that must be shared from the start."""
        root = lab.folder(self.region.name, "cluster")
        kubelet, logs = root / "kubelet", root / "logs"
        kubelet.mkdir(exist_ok=True)
        logs.mkdir(exist_ok=True)
        return {
            "hide": ["/run"],
            "bind": {str(kubelet): "/var/lib/kubelet", str(logs): "/var/log"},
            "shared": ["/var/lib/kubelet"],
        }

    def _clear_away(self, lab: Lab) -> None:
        """A killed cluster leaves its disks, its rules and its bridge; the next one must not find them."""
        self.stop(lab)
        for leftover in (lab.root / self.region.name / "cluster", volumes(lab, self.region)):
            shutil.rmtree(leftover, ignore_errors=True)
        lab.run(["sh", "-c", f"{FORGET_RULES}; ip link delete cni0 2>/dev/null || true"], region=self.region.name)

    def _start_containerd(self, lab: Lab) -> None:
        launch(lab, self.region, "containerd")
        ctr = ["ctr", f"--address={cluster_settings.SOCKET}", "--namespace=k8s.io", "images"]
        here = self.region.name
        listed = lab.wait_for(
            f"containerd-{here}",
            lambda: lab.run([*ctr, "ls", "--quiet"], region=here, nested=True).split(),
            seconds=SLOW_MACHINE_SECONDS,
        )
        for image in self.packed():
            if image.name not in listed:
                lab.run(
                    [*ctr, "import", "--digests=false", str(images.archive(image))],
                    region=here,
                    nested=True,
                    seconds=120,
                )

    def _start_control_plane(self, lab: Lab) -> None:
        launch(lab, self.region, "etcd")
        launch(lab, self.region, "kube-apiserver")
        cluster = kube.api(lab, self.region)
        lab.wait_for(f"kube-apiserver-{self.region.name}", lambda: cluster.get("/readyz"), seconds=SLOW_MACHINE_SECONDS)
        launch(lab, self.region, "kube-controller-manager")
        launch(lab, self.region, "kube-scheduler")

    def _start_node(self, lab: Lab) -> None:
        launch(lab, self.region, "kubelet")
        launch(lab, self.region, "kube-proxy")
        wait_for(
            lambda: self._is_ready(lab), what=f"node {self.region.node}", seconds=SLOW_MACHINE_SECONDS,
            hint=f"log: {lab.log(f'kubelet-{self.region.name}')}",
        )  # fmt: skip

    def _is_ready(self, lab: Lab) -> bool:
        """The node takes pods, and pods get their account."""
        cluster = kube.api(lab, self.region)
        node = cluster.get(f"/api/v1/nodes/{self.region.node}")
        if node is None:
            raise LabError(f"node {self.region.node} is not registered", "")
        ready: kube.Object = next(
            (each for each in node["status"].get("conditions", []) if each["type"] == "Ready"), {}
        )
        if ready.get("status") != "True":
            raise LabError(f"node {self.region.node} is not Ready: {ready.get('message')}", "dr lab up mends it")
        if cluster.get("/api/v1/namespaces/default/serviceaccounts/default") is None:
            raise LabError("the service account controller has not started", "")
        return True

    def _write_and_read(self, lab: Lab) -> None:
        cluster = kube.api(lab, self.region)
        folder = "/api/v1/namespaces/default/configmaps"
        made = cluster.create(folder, {"metadata": {"generateName": "dr-lab-probe-"}, "data": {"probe": "1"}})
        assert made is not None
        one = f"{folder}/{made['metadata']['name']}"
        if (cluster.get(one) or {}).get("data") != {"probe": "1"}:
            raise LabError(f"{self.name}: a ConfigMap was created and could not be read", "is etcd well? see its log")
        cluster.delete(one)


def volumes(lab: Lab, region: Region) -> Path:
    """The node's disk for persistent volumes."""
    return lab.root / region.name / "volumes"
