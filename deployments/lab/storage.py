"""Volumes: local-path-provisioner makes a folder of the node's disk into a persistent volume."""

from __future__ import annotations

import json
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import yaml

from deployments.lab import cluster, kube
from deployments.lab.component import LabError, Proof, wait_for
from deployments.lab.images import BUSYBOX, LOCAL_PATH
from deployments.lab.proof import milliseconds

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

NAMESPACE = "local-path-storage"
ACCOUNT = "local-path-provisioner-service-account"
"""Its helper pods ask for an account of this very name."""
SETUP = '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n'
TEARDOWN = '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n'


@dataclass(frozen=True)
class Storage:
    """The StorageClass `local-path`, and what provides it."""

    region: Region

    @property
    def name(self) -> str:
        return f"storage-{self.region.name}"

    def start(self, lab: Lab) -> None:
        kube.apply(lab, self.region, yaml.safe_dump_all(_manifests(str(cluster.volumes(lab, self.region)))))
        kube.wait_until_available(
            lab, self.region, NAMESPACE, "local-path-provisioner", kind="deployments", seconds=120
        )

    def prove(self, lab: Lab) -> Proof:
        """A pod writes into a volume that is made for it, and both are taken away again."""
        begun = monotonic()
        api = kube.api(lab, self.region)
        folder = f"/api/v1/namespaces/{NAMESPACE}"
        name = f"dr-lab-probe-{int(begun * 1000)}"
        api.create(f"{folder}/persistentvolumeclaims", _claim(name))
        api.create(f"{folder}/pods", _writer(name))
        try:
            wait_for(
                lambda: _has_succeeded(api.get(f"{folder}/pods/{name}")),
                what="a pod that writes into a new volume",
                seconds=30,
                hint=f"kubectl -n {NAMESPACE} get events",
            )
        finally:
            api.delete(f"{folder}/pods/{name}")
            api.delete(f"{folder}/persistentvolumeclaims/{name}")
        said = f"a pod wrote into a volume made for it, {milliseconds(begun)}"
        return Proof(self.name, self.region.name, "StorageClass local-path", None, None, said)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {}

    def stop(self, lab: Lab) -> None:
        """It lives and dies with its cluster."""


def _has_succeeded(pod: kube.Object | None) -> bool:
    phase = pod["status"].get("phase") if pod else "gone"
    if phase != "Succeeded":
        raise LabError(f"pod is {phase}", "")
    return True


def _claim(name: str) -> kube.Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
    return {"metadata": {"name": name}, "spec": spec}


def _writer(name: str) -> kube.Object:
    container = {
        "name": "writer",
        "image": BUSYBOX,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo probe > /data/probe && sync && grep -q probe /data/probe"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": name}}
    return {
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container], "volumes": [volume]},
    }


def _manifests(volumes: str) -> list[kube.Object]:
    metadata = {"name": "local-path-provisioner", "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "local-path-provisioner"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": _settings(volumes)},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": _deployment()},
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": "local-path",
                "annotations": {
                    "storageclass.kubernetes.io/is-default-class": "true",
                    # Velero's file-system backup refuses hostPath volumes, which are the default.
                    "defaultVolumeType": "local",
                },
            },
            "provisioner": "rancher.io/local-path",
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        },
    ]


def _settings(volumes: str) -> dict[str, str]:
    paths = {"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [volumes]}]}
    helper = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "priorityClassName": "system-node-critical",
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "helper-pod", "image": BUSYBOX, "imagePullPolicy": "Never"}],
        },
    }
    return {
        "config.json": json.dumps(paths),
        "setup": SETUP,
        "teardown": TEARDOWN,
        "helperPod.yaml": yaml.safe_dump(helper),
    }


def _deployment() -> kube.Object:
    labels = {"app": "local-path-provisioner"}
    container = {
        "name": "provisioner",
        "image": LOCAL_PATH,
        "imagePullPolicy": "Never",
        "command": [
            "local-path-provisioner",
            "start",
            "--config",
            "/etc/config/config.json",
            "--helper-image",
            BUSYBOX,
            "--configmap-name",
            "local-path-provisioner",
        ],
        "env": [
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "CONFIG_MOUNT_PATH", "value": "/etc/config/"},
        ],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/config/"}],
    }
    volume = {"name": "config", "configMap": {"name": "local-path-provisioner"}}
    pod = {"serviceAccountName": ACCOUNT, "containers": [container], "volumes": [volume]}
    return {
        "replicas": 1,
        "minReadySeconds": 1,  # without a readiness probe it would count in the moment before it fails
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
