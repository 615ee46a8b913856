"""Who is who in a cluster: its certificates, its accounts' tokens and the kubeconfigs that hold them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import yaml

from deployments.lab import files, kube, tls
from deployments.lab.component import LabError

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

SYSTEM = {
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", "system:node-proxier"),
}
ADMIN = {"admin": ("dr-lab-admin", "system:masters")}
"""File name → user and group."""
ACCOUNTS = {"runner": "dr-runner", "observer": "dr-observer"}
"""File name → service account in namespace dr-runbooks. What these may do stands in deployments/server/rbac.yaml."""
LASTS_SECONDS = 10 * 365 * 86400
"""As long as the lab's certificates."""


def folder(lab: Lab, region: Region) -> Path:
    return lab.folder(region.name, "pki")


def write(lab: Lab, region: Region) -> None:
    """Certificates and kubeconfigs are there. They outlive a cluster, as those of a rebuilt one often do."""
    pki = folder(lab, region)
    tls.authority(pki, f"dr-lab cluster {region.name}")
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    addresses = ("localhost", "127.0.0.1", region.address, region.api_service_ip)
    tls.certificate(pki, "apiserver", common_name="kube-apiserver", hosts=(*service, *addresses))
    tls.certificate(pki, "kubelet", common_name=region.node, hosts=(region.node, "127.0.0.1", region.address))
    client = "kube-apiserver-kubelet-client"
    tls.certificate(pki, "apiserver-kubelet-client", common_name=client, organization="system:masters")
    tls.signing_key(pki, "service-accounts")
    for name in {**_system(region), **ADMIN}:
        _write_kubeconfig(lab, region, name, lab.secret(f"token-{region.name}-{name}"))
    tokens = "".join(_token_line(lab, region, name) for name in {**_system(region), **ADMIN})
    files.write(pki / "tokens.csv", tokens, mode=0o600)


def write_accounts(lab: Lab, region: Region) -> None:
    """The kubeconfigs of our accounts hold tokens of this cluster; those of the one before are worth nothing."""
    spec = {"expirationSeconds": LASTS_SECONDS}
    body: kube.Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    for name, account in ACCOUNTS.items():
        path = f"/api/v1/namespaces/dr-runbooks/serviceaccounts/{account}/token"
        made = kube.api(lab, region).create(path, body)
        if made is None:
            raise LabError(
                f"cluster {region.name} has no service account {account}", "see deployments/server/rbac.yaml"
            )
        _write_kubeconfig(lab, region, name, made["status"]["token"])


def kubeconfig(lab: Lab, region: Region, name: str) -> Path:
    """`kubeconfig` is the administrator's; our accounts' lie beside it, those of the cluster's parts with its keys."""
    if name == "admin":
        return lab.path(region.name, "kubeconfig")
    return (
        lab.path(region.name, f"{name}.kubeconfig") if name in ACCOUNTS else folder(lab, region) / f"{name}.kubeconfig"
    )


def _system(region: Region) -> dict[str, tuple[str, str]]:
    return {**SYSTEM, "kubelet": (f"system:node:{region.node}", "system:nodes")}


def _token_line(lab: Lab, region: Region, name: str) -> str:
    user, group = {**_system(region), **ADMIN}[name]
    line = f"{lab.secret(f'token-{region.name}-{name}')},{user},{user}"
    return f'{line},"{group}"\n' if group else f"{line}\n"


def _write_kubeconfig(lab: Lab, region: Region, name: str, token: str) -> None:
    context, ca = f"lab-{region.name}", (folder(lab, region) / "ca.crt").read_bytes()
    authority = base64.b64encode(ca).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": region.api_url, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": name}}],
        "current-context": context,
    }
    files.write(kubeconfig(lab, region, name), yaml.safe_dump(config, sort_keys=False), mode=0o600)
