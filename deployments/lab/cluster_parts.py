"""The processes of a cluster, and the options that each is started with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.lab import cluster_identity
from deployments.lab.cluster_settings import SOCKET
from deployments.lab.lab import Lab, program

if TYPE_CHECKING:
    from deployments.lab.process import Process
    from deployments.lab.region_address import Region

PARTS = (
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
)


def launch(lab: Lab, region: Region, part: str) -> Process:
    """The living process of that part of the cluster; started when it was not there."""
    argv = {
        "containerd": _containerd,
        "etcd": _etcd,
        "kube-apiserver": _apiserver,
        "kube-controller-manager": _controller_manager,
        "kube-scheduler": _scheduler,
        "kubelet": _kubelet,
        "kube-proxy": _proxy,
    }[part](lab, region)
    return lab.spawn(f"{part}-{region.name}", argv, region=region.name, nested=True)


def _k8s(lab: Lab, component: str, *options: str) -> list[str]:
    return [str(lab.bin / "k8s"), component, *options]


def _containerd(lab: Lab, region: Region) -> list[str]:
    return [program("containerd"), f"--config={lab.root / region.name / 'cluster' / 'containerd.toml'}"]


def _etcd(lab: Lab, region: Region) -> list[str]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return _k8s(
        lab,
        "etcd",
        f"--name={region.name}",
        f"--data-dir={lab.root / region.name / 'cluster' / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={region.name}={peer}",
        "--log-level=warn",
        "--unsafe-no-fsync",  # a killed process loses nothing; only a machine that loses power would
    )


def _apiserver(lab: Lab, region: Region) -> list[str]:
    pki = cluster_identity.folder(lab, region)
    return _k8s(
        lab,
        "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        f"--advertise-address={region.address}",
        "--secure-port=6443",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--token-auth-file={pki / 'tokens.csv'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={region.service_cidr}",
        "--allow-privileged=true",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        "--profiling=false",
    )


def _controller_manager(lab: Lab, region: Region) -> list[str]:
    pki = cluster_identity.folder(lab, region)
    return _k8s(
        lab,
        "kube-controller-manager",
        f"--kubeconfig={cluster_identity.kubeconfig(lab, region, 'controller-manager')}",
        "--leader-elect=false",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        "--use-service-account-credentials=true",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--allocate-node-cidrs=false",
        "--controllers=*,-nodeipam",
        "--bind-address=127.0.0.1",
        f"--cluster-name={region.name}",
        "--node-monitor-period=2s",
        "--node-monitor-grace-period=16s",
    )


def _scheduler(lab: Lab, region: Region) -> list[str]:
    kubeconfig = cluster_identity.kubeconfig(lab, region, "scheduler")
    return _k8s(lab, "kube-scheduler", f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1")


def _kubelet(lab: Lab, region: Region) -> list[str]:
    return _k8s(
        lab,
        "kubelet",
        f"--config={lab.root / region.name / 'cluster' / 'kubelet.yaml'}",
        f"--kubeconfig={cluster_identity.kubeconfig(lab, region, 'kubelet')}",
        f"--container-runtime-endpoint=unix://{SOCKET}",
        f"--hostname-override={region.node}",
        f"--node-ip={region.address}",
        f"--cert-dir={lab.root / region.name / 'cluster' / 'kubelet-pki'}",
    )


def _proxy(lab: Lab, region: Region) -> list[str]:
    return _k8s(lab, "kube-proxy", f"--config={lab.root / region.name / 'cluster' / 'proxy.yaml'}")
