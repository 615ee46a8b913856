"""Values of Secrets and ConfigMaps are recorded and compared by their HMAC alone; they never leave the process.

So are secrets that stand where they should not: the plain `value` of an environment variable, or a member of a custom
resource, whose name says that it is one; and passwords in addresses. Other values stay readable, since a difference
that shows two digests tells nobody what to do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any

from runbooks.records import KubeObject
from runbooks.site import Site
from tasks import secrets
from tasks.cases import Case
from tasks.clients.kubernetes import Object

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
HELD_VALUES = {"Secret": ("data", "stringData"), "ConfigMap": ("data", "binaryData")}

SECRET_NAME = re.compile(
    r"passw|passphrase|pwd|secret|token|credential|private|api_?key|access_?key|auth|dsn", re.IGNORECASE
)
SECRET_MEMBER = re.compile(
    r"(?:[a-z]*_?)?(?:password|passwd|passphrase|token|api_?key|secret_?key|access_?key|private_?key|client_?secret)",
    re.IGNORECASE,
)
"""Of a custom resource; a built-in kind has such members only as references."""
IN_ADDRESS = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
IN_ARGUMENT = re.compile(r"(?i)(?<=\b)((?:[a-z-]*)(?:password|passwd|token|secret|api-?key)[a-z-]*=)(\S+)")
BUILT_IN = re.compile(r"v1|(?:[a-z]+|[a-z.]+\.k8s\.io)/v\d\w*")


def hmac_key(case: Case) -> bytes:
    return key_of(case.site)


def key_of(site: Site) -> bytes:
    return secrets.read(site.evidence.hmac_key).encode()


def digested(body: Object, key: bytes) -> Object:
    """The object with each value of a Secret or ConfigMap replaced by its HMAC: equal values stay equal.

    Data is decoded first where the kind has it in base64, so that the same value counts as the same in both kinds.
    """
    changed: Object = _told(body, key, is_custom=not BUILT_IN.fullmatch(str(body.get("apiVersion", ""))))
    members = HELD_VALUES.get(body.get("kind", ""), ())
    for member in members:
        if isinstance(body.get(member), dict):
            is_base64 = (body["kind"], member) in (("Secret", "data"), ("ConfigMap", "binaryData"))
            changed[member] = {k: _hmac(str(v), key, is_base64=is_base64) for k, v in body[member].items()}
    metadata = dict(changed["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    if LAST_APPLIED in annotations:  # holds the whole object once more
        kept = _hmac(str(body["metadata"]["annotations"][LAST_APPLIED]), key, is_base64=False)
        changed["metadata"] = {**metadata, "annotations": {**annotations, LAST_APPLIED: kept}}
    return changed


def _told(value: Any, key: bytes, *, is_custom: bool) -> Any:
    """The same with what looks like a secret replaced."""
    if isinstance(value, str):
        return _without_passwords(value, key)
    if isinstance(value, list):
        return [_told(one, key, is_custom=is_custom) for one in value]
    if not isinstance(value, dict):
        return value
    if _is_secret_variable(value):
        return {**value, "value": _hmac(value["value"], key, is_base64=False)}
    return {
        name: _hmac(one, key, is_base64=False)
        if is_custom and isinstance(one, str) and SECRET_MEMBER.fullmatch(str(name))
        else _told(one, key, is_custom=is_custom)
        for name, one in value.items()
    }


def _is_secret_variable(value: dict[str, Any]) -> bool:
    """An entry of `env`: a name and a plain value."""
    name, plain = value.get("name"), value.get("value")
    return isinstance(name, str) and isinstance(plain, str) and bool(plain and SECRET_NAME.search(name))


def _without_passwords(text: str, key: bytes) -> str:
    if "=" in text:
        text = IN_ARGUMENT.sub(lambda found: found[1] + _hmac(found[2], key, is_base64=False), text)
    return IN_ADDRESS.sub(lambda found: _hmac(found[0], key, is_base64=False), text) if "://" in text else text


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
