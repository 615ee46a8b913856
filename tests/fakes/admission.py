"""What the API server fills in and refuses before it stores an object."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from tests.fakes import refusals, statuses
from tests.fakes.kinds import CLAIMS, DEPLOYMENTS, NAMESPACES, SERVICES, Resource
from tests.fakes.store import Object, Store, now

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.:]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_RFC1123 = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_NODE_PORTS = range(30000, 32768)


def on_create(store: Store, resource: Resource, obj: Object) -> None:
    """Raises: ApiError."""
    _check_names(resource, obj)
    if resource.namespaced:
        _check_namespace(store, resource, obj)
    if default := _DEFAULTS.get(resource.kind):
        default(obj)
    refusals.check(store, resource, obj)
    if resource == SERVICES and obj["spec"].get("type") != "ExternalName":
        _allocate(store, obj)


def on_update(resource: Resource, before: Object, new: Object) -> None:
    """Raises: ApiError."""
    _check_names(resource, new)
    name = new["metadata"]["name"]
    if new["metadata"].get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]:
        why = (
            f"Precondition failed: UID in precondition: {new['metadata']['uid']}, "
            f"UID in object meta: {before['metadata']['uid']}"
        )
        raise statuses.conflict(resource, name, why)
    if before.get("immutable") and any(before.get(key) != new.get(key) for key in ("data", "binaryData")):
        raise statuses.invalid(resource, name, "data", "field is immutable when `immutable` is set")
    if resource == DEPLOYMENTS and before["spec"]["selector"] != new["spec"].get("selector"):
        raise statuses.invalid(resource, name, "spec.selector", "field is immutable")
    if resource == SERVICES and before["spec"].get("clusterIP") != new["spec"].get("clusterIP"):
        raise statuses.invalid(resource, name, "spec.clusterIPs[0]", "may not change once set")
    if resource == CLAIMS and before["spec"].get("volumeName") and _claim(before) != _claim(new):
        why = "spec is immutable after creation except resources.requests and volumeAttributesClassName"
        raise statuses.invalid(resource, name, "spec", f"Forbidden: {why} for bound claims", "FieldValueForbidden")


def _claim(obj: Object) -> Object:
    return {key: value for key, value in obj["spec"].items() if key != "resources"}


def _check_names(resource: Resource, obj: Object) -> None:
    meta = obj.get("metadata") or {}
    name = meta.get("name") or meta.get("generateName", "")
    if not name:
        raise statuses.invalid(resource, "", "metadata.name", "Required value: name or generateName is required",
                               "FieldValueRequired")  # fmt: skip
    if not _NAME.fullmatch(name.rstrip("-.") if not meta.get("name") else name) or len(name) > 253:
        raise statuses.invalid(resource, name, "metadata.name", f'Invalid value: "{name}": {_RFC1123}')
    for value in (meta.get("labels") or {}).values():
        if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value) or len(value) > 63:
            why = f'Invalid value: "{value}": a valid label value is empty or alphanumeric'
            raise statuses.invalid(resource, name, "metadata.labels", why)


def _check_namespace(store: Store, resource: Resource, obj: Object) -> None:
    name = obj["metadata"]["namespace"]
    namespace = store.find(NAMESPACES, "", name)
    if namespace is None:
        raise statuses.not_found(NAMESPACES, name)
    if namespace["metadata"].get("deletionTimestamp"):
        raise statuses.terminating(resource, obj["metadata"].get("name", ""), name)


def _namespace(obj: Object) -> None:
    meta = obj["metadata"]
    meta["labels"] = (meta.get("labels") or {}) | {"kubernetes.io/metadata.name": meta["name"]}
    obj["spec"] = {"finalizers": ["kubernetes"]}
    obj["status"] = {"phase": "Active"}


def _secret(obj: Object) -> None:
    obj.setdefault("type", "Opaque")
    for key, value in obj.pop("stringData", {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()


def _claim_defaults(obj: Object) -> None:
    spec = obj["spec"]
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("storageClassName", "standard")
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if "kubernetes.io/pvc-protection" not in finalizers:
        finalizers.append("kubernetes.io/pvc-protection")
    obj["status"] = {"phase": "Pending"}


def _volume(obj: Object) -> None:
    obj["spec"].setdefault("volumeMode", "Filesystem")
    obj["spec"].setdefault("persistentVolumeReclaimPolicy", "Retain")
    obj["metadata"].setdefault("finalizers", ["kubernetes.io/pv-protection"])
    obj["status"] = {"phase": "Pending"}


def _deployment(obj: Object) -> None:
    obj["spec"].setdefault("replicas", 1)
    obj["spec"].setdefault("revisionHistoryLimit", 10)
    obj["spec"].setdefault("progressDeadlineSeconds", 600)
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    obj["spec"].setdefault("strategy", rolling)
    _template(obj)


def _replica_set(obj: Object) -> None:
    obj["spec"].setdefault("replicas", 1)
    _template(obj)


def _stateful_set(obj: Object) -> None:
    obj["spec"].setdefault("replicas", 1)
    obj["spec"].setdefault("podManagementPolicy", "OrderedReady")
    obj["spec"].setdefault("revisionHistoryLimit", 10)
    obj["spec"].setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    for claim in obj["spec"].get("volumeClaimTemplates", []):
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}
        claim["spec"].setdefault("volumeMode", "Filesystem")
    _template(obj)


def _template(obj: Object) -> None:
    obj["spec"]["template"].setdefault("metadata", {})
    _pod_spec(obj["spec"]["template"]["spec"])


def _pod_spec(spec: Object) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    for container in spec.get("containers", []) + spec.get("initContainers", []):
        container.setdefault("resources", {})
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", "IfNotPresent")
        for port in container.get("ports", []):
            port.setdefault("protocol", "TCP")


def _pod(obj: Object) -> None:
    spec = obj["spec"]
    _pod_spec(spec)
    account = spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", account)
    spec.setdefault("enableServiceLinks", True)
    obj["status"] = {"phase": "Pending", "qosClass": "BestEffort"}


def _cron_job(obj: Object) -> None:
    obj["spec"].setdefault("concurrencyPolicy", "Allow")
    obj["spec"].setdefault("suspend", False)
    obj["spec"].setdefault("successfulJobsHistoryLimit", 3)
    obj["spec"].setdefault("failedJobsHistoryLimit", 1)
    obj["status"] = {}


def _service(obj: Object) -> None:
    spec = obj["spec"]
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("internalTrafficPolicy", "Cluster")
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] == "NodePort":
        spec.setdefault("externalTrafficPolicy", "Cluster")
    for port in spec.get("ports", []):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])
    obj["status"] = {"loadBalancer": {}}


def _allocate(store: Store, service: Object) -> None:
    others = store.list(SERVICES)
    spec, name = service["spec"], service["metadata"].get("name", "")
    if not spec.get("clusterIP"):
        taken = {one["spec"].get("clusterIP") for one in others}
        spec["clusterIP"] = next(ip for n in range(1, 65_000) if (ip := f"10.96.{n // 250}.{n % 250 + 1}") not in taken)
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    if spec["type"] != "NodePort":
        return
    used = {port.get("nodePort") for one in others for port in one["spec"].get("ports", [])}
    service["metadata"].setdefault("managedFields", [_asked_ports(spec)])
    for number, port in enumerate(spec.get("ports", [])):
        if port.get("nodePort") in used:
            why = f"Invalid value: {port['nodePort']}: provided port is already allocated"
            raise statuses.invalid(SERVICES, name, f"spec.ports[{number}].nodePort", why)
        port.setdefault("nodePort", next(one for one in _NODE_PORTS if one not in used))
        used.add(port["nodePort"])


def _asked_ports(spec: Object) -> Object:
    """Which node ports the client asked for: Velero keeps these and lets the others be assigned anew."""
    ports: Object = {
        f'k:{{"port":{port["port"]},"protocol":"{port["protocol"]}"}}': {"f:nodePort": {}} if "nodePort" in port else {}
        for port in spec.get("ports", [])
    }
    return {"manager": "fake", "operation": "Update", "apiVersion": "v1", "time": now(), "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:ports": ports}}}  # fmt: skip


_DEFAULTS: dict[str, Callable[[Any], None]] = {
    "Namespace": _namespace,
    "Secret": _secret,
    "PersistentVolumeClaim": _claim_defaults,
    "PersistentVolume": _volume,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "DaemonSet": _template,
    "StatefulSet": _stateful_set,
    "Pod": _pod,
    "CronJob": _cron_job,
    "Service": _service,
}
