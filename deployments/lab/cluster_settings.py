"""Configuration files of a cluster's node: containerd, kubelet, kube-proxy, pod network.

What stands here was needed to run without Docker, systemd and CAP_SYS_RESOURCE, in control groups of either version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from deployments.lab import cluster_identity, files
from deployments.lab.images import PAUSE
from deployments.lab.lab import Lab, program

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.region_address import Region

SOCKET = "/run/containerd/containerd.sock"
CNI_PROGRAMS = "/usr/lib/cni"
CONTAINERD = """\
version = 2
root = "{root}/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [{disabled}]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni}"
    conf_dir = "{root}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
        Root = "/run/runc"
"""
NOT_USED = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
)


def write(lab: Lab, region: Region) -> None:
    """All four files are there, under `.lab/a/cluster/`."""
    root = lab.folder(region.name, "cluster")
    disabled = ", ".join(f'"{plugin}"' for plugin in NOT_USED)
    containerd = CONTAINERD.format(
        root=root, disabled=disabled, socket=SOCKET, pause=PAUSE, cni=CNI_PROGRAMS, runc=program("runc")
    )
    files.write(root / "containerd.toml", containerd)
    files.write(root / "cni" / "10-bridge.conflist", json.dumps(_pod_network(region, root)))
    files.write(root / "kubelet.yaml", yaml.safe_dump(_kubelet(lab, region, root)))
    files.write(root / "proxy.yaml", yaml.safe_dump(_proxy(lab, region)))


def _pod_network(region: Region, root: Path) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(root / "cni-addresses"),
        "ranges": [[{"subnet": region.pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {"cniVersion": "0.4.0", "name": "lab", "plugins": [bridge, ports]}


def _kubelet(lab: Lab, region: Region, root: Path) -> dict[str, object]:
    pki = cluster_identity.folder(lab, region)
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{region.cgroup}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "failCgroupV1": False,
        "oomScoreAdj": 0,
        "address": "0.0.0.0",
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "resolvConf": "/etc/resolv.conf",
        "clusterDNS": [region.host_address],
        "clusterDomain": "cluster.local",
        "staticPodPath": "",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "serializeImagePulls": False,
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "1s",
        "volumePluginDir": str(root / "volume-plugins"),
    }


def _proxy(lab: Lab, region: Region) -> dict[str, object]:
    kubeconfig = cluster_identity.kubeconfig(lab, region, "proxy")
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "mode": "iptables",
        "clusterCIDR": region.pod_cidr,
        "hostnameOverride": region.node,
        "oomScoreAdj": 0,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "0s", "syncPeriod": "30s"},
    }
