"""Values of Secrets and ConfigMaps are recorded and compared by their HMAC alone; they never leave the process."""

from __future__ import annotations

import base64
import hashlib
import hmac

from runbooks.records import KubeObject
from tasks import secrets
from tasks.cases import Case
from tasks.clients.kubernetes import Object

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
HELD_VALUES = {"Secret": ("data", "stringData"), "ConfigMap": ("data", "binaryData")}


def hmac_key(case: Case) -> bytes:
    return secrets.read(case.site.evidence.hmac_key).encode()


def digested(body: Object, key: bytes) -> Object:
    """The object with each value of a Secret or ConfigMap replaced by its HMAC: equal values stay equal.

    Data is decoded first where the kind has it in base64, so that the same value counts as the same in both kinds.
    """
    members = HELD_VALUES.get(body.get("kind", ""))
    if members is None:
        return body
    changed = dict(body)
    for member in members:
        if isinstance(body.get(member), dict):
            is_base64 = (body["kind"], member) in (("Secret", "data"), ("ConfigMap", "binaryData"))
            changed[member] = {k: _hmac(str(v), key, is_base64=is_base64) for k, v in body[member].items()}
    metadata = dict(body["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    if LAST_APPLIED in annotations:
        metadata["annotations"] = {**annotations, LAST_APPLIED: _hmac(annotations[LAST_APPLIED], key, is_base64=False)}
        changed["metadata"] = metadata
    return changed


def _hmac(value: str, key: bytes, *, is_base64: bool) -> str:
    raw = base64.b64decode(value) if is_base64 else value.encode()
    return "hmac:" + hmac.new(key, raw, hashlib.sha256).hexdigest()


def kube_object(body: Object, key: bytes) -> KubeObject:
    metadata = body["metadata"]
    return KubeObject(
        api_version=body["apiVersion"],
        kind=body["kind"],
        name=metadata["name"],
        uid=metadata.get("uid"),
        body=digested(body, key),
    )
