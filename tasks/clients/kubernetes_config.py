"""Whom we talk to: kubeconfig or in-cluster account, and the pins that prove that it is the right cluster."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from kubernetes import config
from kubernetes.client import Configuration

from runbooks.errors import Refused
from runbooks.site import Cluster
from tasks.clients.kubernetes_errors import translated

CONNECTIONS = 16
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Identity:
    """What a cluster is known by. `ca_sha256` is of the kubeconfig's CA certificates, one each."""

    server: str
    uid: str
    ca_sha256: tuple[str, ...]


def shown(cluster: Cluster) -> str:
    if cluster.kubeconfig is None:
        return "the cluster this runs in"
    return f"context {cluster.context or '(current)'} of {cluster.kubeconfig}"


def load(cluster: Cluster) -> Configuration:
    """Raises: Refused: there is no usable configuration, or it does not verify whom it talks to."""
    found = Configuration()
    with translated(shown(cluster)):
        if cluster.kubeconfig is None:
            config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
        else:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=os.fspath(cluster.kubeconfig),
                context=cluster.context,
                client_configuration=found,
                persist_config=False,
            )
    if not found.host.startswith("https://") or not found.verify_ssl or not found.ssl_ca_cert:
        raise Refused(
            f"{shown(cluster)} reaches {found.host} without verifying its certificate",
            "give it https and certificate-authority-data; without them any server could answer",
        )
    found.connection_pool_maxsize = CONNECTIONS
    return found


def fingerprints(configuration: Configuration) -> tuple[str, ...]:
    """SHA-256 over the DER form of each CA certificate."""
    with translated(configuration.host):
        found = PEM.findall(Path(configuration.ssl_ca_cert or "").read_text())
    return tuple(hashlib.sha256(ssl.PEM_cert_to_DER_cert(one)).hexdigest() for one in found)


def prove(cluster: Cluster, found: Identity) -> None:
    """Raises: Refused: another cluster is behind the context."""
    wanted = cluster.ca_sha256.replace(":", "").lower()
    if wanted not in found.ca_sha256:
        raise _another(cluster, "API CA", wanted, " or ".join(found.ca_sha256))
    if found.uid != cluster.uid:
        raise _another(cluster, "UID of kube-system", cluster.uid, found.uid)


def _another(cluster: Cluster, what: str, pinned: str, seen: str) -> Refused:
    return Refused(
        f"another cluster is behind {shown(cluster)}: {what} is {seen}, the site pins {pinned}",
        "has the context been pointed elsewhere? if the cluster was really replaced: dr site pin",
    )
