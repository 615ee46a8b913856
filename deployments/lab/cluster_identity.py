"""Who is who in a cluster: its certificates, its accounts' tokens and the kubeconfigs that hold them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import yaml

from deployments.lab import files, tls

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

SYSTEM = {
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", "system:node-proxier"),
}
PEOPLE = {
    "admin": ("dr-lab-admin", "system:masters"),
    "runner": ("dr-runner", ""),
    "observer": ("dr-observer", ""),
}
"""File name → user and group. What the runner and the observer may do stands in deployments/server/rbac.yaml."""


def folder(lab: Lab, region: Region) -> Path:
    return lab.folder(region.name, "pki")


def write(lab: Lab, region: Region) -> None:
    """Certificates and kubeconfigs are there. They outlive a cluster, as those of a rebuilt one often do."""
    pki = folder(lab, region)
    ca = tls.authority(pki, f"dr-lab cluster {region.name}")
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    addresses = ("localhost", "127.0.0.1", region.address, region.api_service_ip)
    tls.certificate(pki, "apiserver", common_name="kube-apiserver", hosts=(*service, *addresses))
    tls.certificate(pki, "kubelet", common_name=region.node, hosts=(region.node, "127.0.0.1", region.address))
    client = "kube-apiserver-kubelet-client"
    tls.certificate(pki, "apiserver-kubelet-client", common_name=client, organization="system:masters")
    tls.signing_key(pki, "service-accounts")
    for name in {**_system(region), **PEOPLE}:
        files.write(kubeconfig(lab, region, name), _kubeconfig(lab, region, name, ca.read_bytes()), mode=0o600)
    tokens = "".join(_token_line(lab, region, name) for name in {**_system(region), **PEOPLE})
    files.write(pki / "tokens.csv", tokens, mode=0o600)


def kubeconfig(lab: Lab, region: Region, name: str) -> Path:
    """`kubeconfig` is the administrator's; people's lie beside it, those of the cluster's parts with its keys."""
    if name == "admin":
        return lab.path(region.name, "kubeconfig")
    return lab.path(region.name, f"{name}.kubeconfig") if name in PEOPLE else folder(lab, region) / f"{name}.kubeconfig"


def _system(region: Region) -> dict[str, tuple[str, str]]:
    return {**SYSTEM, "kubelet": (f"system:node:{region.node}", "system:nodes")}


def _token_line(lab: Lab, region: Region, name: str) -> str:
    user, group = {**_system(region), **PEOPLE}[name]
    line = f"{lab.secret(f'token-{region.name}-{name}')},{user},{user}"
    return f'{line},"{group}"\n' if group else f"{line}\n"


def _kubeconfig(lab: Lab, region: Region, name: str, ca: bytes) -> str:
    context = f"lab-{region.name}"
    authority = base64.b64encode(ca).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": region.api_url, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": lab.secret(f"token-{region.name}-{name}")}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": name}}],
        "current-context": context,
    }
    return yaml.safe_dump(config, sort_keys=False)
