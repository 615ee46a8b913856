"""Create, read, update, patch and delete, as the API server does them."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import admission, patches, rbac, selectors, statuses
from tests.fakes.core import Core
from tests.fakes.http_server import Answer, as_json
from tests.fakes.kinds import ALL, NAMESPACES, PODS, REVIEWS, Resource
from tests.fakes.rbac import Asked
from tests.fakes.routes import Target
from tests.fakes.store import Object, copied

ADMIN = "admin"
_JSON_PATCH = "application/json-patch+json"
_MERGES = ("application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml")


def shown(target: Target, obj: Object) -> Object:
    """Under the group that was asked for."""
    return {"kind": target.resource.kind, "apiVersion": target.resource.api_version} | {
        key: value for key, value in obj.items() if key not in ("kind", "apiVersion")
    }


def get(core: Core, target: Target) -> Answer:
    found = core.store.get(target.resource, target.namespace or "", target.name or "")
    return as_json(shown(target, found), uid=found["metadata"]["uid"])


def selected(target: Target) -> Any:
    """A test for the objects that the query's selectors mean. Raises: ApiError."""
    try:
        labels = selectors.by_labels(target.ask("labelSelector"))
        fields = selectors.by_fields(target.ask("fieldSelector"))
    except selectors.BadSelector as error:
        raise statuses.bad_request(str(error)) from error
    return lambda obj: labels(selectors.labels_of(obj)) and fields(obj)


def listing(core: Core, target: Target) -> Answer:
    with core.store.changed:
        version, everything = core.store.version, core.store.list(target.resource, target.namespace)
    wanted = selected(target)
    found = [obj for obj in everything if wanted(obj)]
    start, limit = int(target.ask("continue") or 0), int(target.ask("limit") or 0)
    page = found[start : start + limit] if limit else found[start:]
    meta: Object = {"resourceVersion": str(version)}
    if start + len(page) < len(found):
        meta |= {"continue": str(start + len(page)), "remainingItemCount": len(found) - start - len(page)}
    items = [shown(target, obj) if target.resource.custom else _bare(obj) for obj in page]
    kind = f"{target.resource.kind}List"
    return as_json({"kind": kind, "apiVersion": target.resource.api_version, "metadata": meta, "items": items})


def _bare(obj: Object) -> Object:
    """The items of a list of built-in resources name neither kind nor version."""
    return {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}


def create(core: Core, target: Target, body: Object, user: str) -> Answer:
    if target.resource == REVIEWS:
        return as_json(body | {"status": {"allowed": not denied(core, _asked(body, user))}}, 201)
    new = copied(body)
    _check_envelope(target, new)
    with core.store.changed:
        admission.on_create(core.store, target.resource, new)
        created = core.store.create(target.resource, new, manager=user, keep=not target.dry_run)
    return as_json(shown(target, created), 201, created["metadata"]["uid"])


def _asked(body: Object, user: str) -> Asked:
    asked = body["spec"].get("resourceAttributes", {})
    return Asked(
        user, **{k: asked.get(k, "") for k in ("verb", "group", "resource", "subresource", "namespace", "name")}
    )


def denied(core: Core, asked: Asked) -> bool:
    """By a test's own word, or (settings.rbac) because no role that is bound to the user allows it."""
    name = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    told = {"user": asked.user, "verb": asked.verb, "resource": name,
            "namespace": asked.namespace, "subresource": asked.subresource}  # fmt: skip
    if any(all(told[key] == value for key, value in rule.items()) for rule in core.denials):
        return True
    return core.settings.rbac and asked.user != ADMIN and not rbac.allows(core.store, asked)


def _check_envelope(target: Target, new: Object) -> None:
    resource = target.resource
    if new.get("kind", resource.kind) != resource.kind or new.get("apiVersion", "") not in ("", resource.api_version):
        raise statuses.bad_request(
            f"{resource.kind} in version {resource.version!r} cannot be handled as a {resource.kind}: "
            f"no kind {new.get('kind')!r} is registered for version {new.get('apiVersion')!r}"
        )
    meta = new.setdefault("metadata", {})
    if resource.namespaced:
        if meta.setdefault("namespace", target.namespace) != target.namespace:
            raise statuses.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
    else:
        meta.pop("namespace", None)
    if meta.get("resourceVersion"):
        raise statuses.bad_request("resourceVersion should not be set on objects to be created")


def update(core: Core, target: Target, body: Object) -> Answer:
    with core.store.changed:
        before = core.store.get(target.resource, target.namespace or "", target.name or "")
        version = body.get("metadata", {}).get("resourceVersion")
        return _store(core, target, before, _joined(target, before, copied(body)), version)


def _joined(target: Target, before: Object, new: Object) -> Object:
    """Only the part of the object that this path may change."""
    if target.subresource in ("status", "finalize"):
        part = "status" if target.subresource == "status" else "spec"
        return before | {part: new.get(part, {})}
    if target.subresource == "scale":
        return before | {"spec": before["spec"] | {"replicas": new["spec"]["replicas"]}}
    if "status" in target.resource.subresources:
        new.pop("status", None)
        new |= {"status": before["status"]} if "status" in before else {}
    return new


def patch(core: Core, target: Target, body: Any, kind: str) -> Answer:
    with core.store.changed:
        before = core.store.get(target.resource, target.namespace or "", target.name or "")
        new = _patched(before, body, kind)
        asked = body.get("metadata", {}).get("resourceVersion") if isinstance(body, dict) else None
        return _store(core, target, before, _joined(target, before, new), asked)


def _patched(before: Object, body: Any, kind: str) -> Object:
    try:
        if kind == _JSON_PATCH:
            changed: Object = patches.apply(before, body)
        elif kind in _MERGES:
            changed = patches.merge(before, body)
        else:
            raise statuses.unsupported(kind)
    except patches.PatchFailed as error:
        raise statuses.patch_failed(str(error)) from error
    return changed


def _store(core: Core, target: Target, before: Object, new: Object, version: str | None) -> Answer:
    resource, meta = target.resource, before["metadata"]
    if version and version != meta["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise statuses.conflict(resource, meta["name"], why)
    new["metadata"] = new.get("metadata", {}) | {"name": meta["name"]}
    admission.on_update(resource, before, new)
    for key in ("uid", "creationTimestamp", "deletionTimestamp", "generation", "namespace", "resourceVersion"):
        new["metadata"].pop(key, None)
        new["metadata"] |= {key: meta[key]} if key in meta else {}
    new["metadata"].setdefault("managedFields", meta.get("managedFields", []))
    stored = core.store.update(resource, new, keep=not target.dry_run)
    return as_json(shown(target, stored), uid=meta["uid"])


def delete(core: Core, target: Target, options: Object) -> Answer:
    resource, name = target.resource, target.name or ""
    with core.store.changed:
        found = core.store.get(resource, target.namespace or "", name)
        _check_preconditions(resource, found, options.get("preconditions") or {})
        if target.dry_run or "All" in (options.get("dryRun") or []):
            return as_json(shown(target, found), uid=found["metadata"]["uid"])
        gone = core.store.begin_deletion(resource, found, _grace(target, found, options))
        if options.get("propagationPolicy", target.ask("propagationPolicy")) == "Orphan":
            _orphan(core, found)
        still = core.store.find(resource, target.namespace or "", name)
    uid = found["metadata"]["uid"]
    if still is not None:
        return as_json(shown(target, gone), uid=uid)
    group = {"group": resource.group} if resource.group else {}
    details = {"name": name, **group, "kind": resource.plural, "uid": uid}
    return as_json(
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}, uid=uid
    )


def delete_all(core: Core, target: Target) -> Answer:
    wanted = selected(target)
    with core.store.changed:
        found = [obj for obj in core.store.list(target.resource, target.namespace) if wanted(obj)]
        for obj in [] if target.dry_run else found:
            core.store.begin_deletion(target.resource, obj, _grace(target, obj, {}))
    kind = f"{target.resource.kind}List"
    return as_json({"kind": kind, "apiVersion": target.resource.api_version, "metadata": {}, "items": found})


def _check_preconditions(resource: Resource, found: Object, wanted: Object) -> None:
    meta = found["metadata"]
    for key, word in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        if wanted.get(key) in (None, meta[key]):
            continue
        why = f"the {word} in the precondition ({wanted[key]}) does not match the {word} in record ({meta[key]}). "
        why += (
            "The object might have been deleted and then recreated"
            if key == "uid"
            else "The object might have been modified"
        )
        if resource == NAMESPACES:
            why = f"Precondition failed: {word} in precondition: {wanted[key]}, {word} in object meta: {meta[key]}"
        raise statuses.conflict(resource, meta["name"], why)


def _grace(target: Target, found: Object, options: Object) -> int:
    """Only pods have a time to end in, and only once they are on a node."""
    if target.resource != PODS or not found["spec"].get("nodeName"):
        return 0
    asked = options.get("gracePeriodSeconds", target.ask("gracePeriodSeconds") or None)
    return int(asked if asked is not None else found["spec"].get("terminationGracePeriodSeconds", 30))


def _orphan(core: Core, parent: Object) -> None:
    def release(new: Object) -> None:
        owners = new["metadata"].get("ownerReferences") or []
        new["metadata"]["ownerReferences"] = [one for one in owners if one["uid"] != parent["metadata"]["uid"]]

    for resource in ALL:
        for obj in core.store.list(resource, parent["metadata"].get("namespace")) if resource.namespaced else []:
            if any(one["uid"] == parent["metadata"]["uid"] for one in obj["metadata"].get("ownerReferences") or []):
                core.store.amend(resource, obj, release)


def parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else {}
    except ValueError as error:
        raise statuses.bad_request(f"couldn't get version/kind; json parse error: {error}") from error
