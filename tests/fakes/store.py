"""The objects of the fake cluster, with what every write does to their metadata, and the events that watches read.

A stored object is never changed in place: each write stores a new one, so that a reader needs no copy."""

from __future__ import annotations

import marshal
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from tests.fakes import clock, statuses
from tests.fakes.kinds import NAMESPACES, Resource

Object = dict[str, Any]
Key = tuple[str, str]
Kept = tuple[int, dict[Key, dict[tuple[str, str], Object]]]
_WITHOUT_GENERATION = {"ConfigMap", "Secret", "Service", "ServiceAccount", "Namespace", "PersistentVolumeClaim",
                       "PersistentVolume", "Event", "Endpoints", "EndpointSlice", "Role", "RoleBinding", "ClusterRole",
                       "ClusterRoleBinding", "Lease", "Node", "ControllerRevision"}  # fmt: skip


@dataclass(frozen=True)
class Change:
    version: int
    key: Key
    before: Object | None
    after: Object | None
    last: Object  # what a watch is shown: after, or a deleted object under its last version


def copied(obj: Object) -> Object:
    """Far faster than by JSON; in this format nothing is shared within the copy, however it was in *obj*."""
    return cast(Object, marshal.loads(marshal.dumps(obj, 2)))


def now() -> str:
    """Kubernetes' own stamp: whole seconds."""
    return clock.stamp(clock.now())


class Store:
    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 1000
        self.oldest = 1000  # watches from before it are told 410
        self.comings_and_goings = 0
        self._objects: dict[Key, dict[tuple[str, str], Object]] = {}
        self._changes: list[Change] = []

    def kept(self) -> Kept:
        with self.changed:
            return self.version, {key: dict(kept) for key, kept in self._objects.items()}

    def begin_with(self, kept: Kept) -> None:
        """An empty one goes on from there; who watched the other has to list again."""
        self.version, self._objects = kept
        self.oldest = self.version

    def list(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        with self.changed:
            kept = self._objects.get(resource.key)
            if not kept:
                return []
            return [obj for (ns, _), obj in sorted(kept.items()) if namespace is None or ns == namespace]

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        with self.changed:
            return self._objects.get(resource.key, {}).get((namespace, name))

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        found = self.find(resource, namespace, name)
        if found is None:
            raise statuses.not_found(resource, name)
        return found

    def by_uid(self, resource: Resource, uid: str) -> Object | None:
        return next((obj for obj in self.list(resource) if obj["metadata"]["uid"] == uid), None)

    def uids(self) -> set[str]:
        with self.changed:
            return {obj["metadata"]["uid"] for kept in self._objects.values() for obj in kept.values()}

    def create(self, resource: Resource, obj: Object, *, manager: str = "fake", keep: bool = True) -> Object:
        with self.changed:
            new = copied(obj)
            meta = new.setdefault("metadata", {})
            if not meta.get("name"):
                meta["name"] = meta.get("generateName", "") + uuid.uuid4().hex[:5]
            namespace = _namespace(resource, new)
            if self.find(resource, namespace, meta["name"]):
                raise statuses.already_exists(resource, meta["name"])
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
            if resource.kind not in _WITHOUT_GENERATION:
                meta["generation"] = 1
            meta.setdefault("managedFields", [_managed(new, resource, manager)])
            new |= {"apiVersion": resource.api_version, "kind": resource.kind}
            return self._put(resource, namespace, None, new) if keep else new

    def update(self, resource: Resource, obj: Object, *, keep: bool = True) -> Object:
        """Store *obj* in place of the one of the same name; one that waited for its finalizers may thereby go."""
        with self.changed:
            return self._replace(resource, self._present(resource, obj), copied(obj), keep=keep)

    def amend(self, resource: Resource, obj: Object, change: Callable[[Object], None]) -> Object:
        """The present state of *obj* changed by *change*; it is an error if it is gone."""
        with self.changed:
            before = self._present(resource, obj)
            new = copied(before)
            change(new)
            return self._replace(resource, before, new, keep=True)

    def _present(self, resource: Resource, obj: Object) -> Object:
        return self.get(resource, _namespace(resource, obj), obj["metadata"]["name"])

    def _replace(self, resource: Resource, before: Object, new: Object, *, keep: bool) -> Object:
        if _same(before, new):
            return before
        if "generation" in before["metadata"]:
            grown = _body(before) != _body(new)
            new["metadata"]["generation"] = before["metadata"]["generation"] + (1 if grown else 0)
        if not keep:
            return new
        if _may_go(before, new):
            self.remove(resource, new)
            return new
        return self._put(resource, _namespace(resource, before), before, new)

    def remove(self, resource: Resource, obj: Object) -> None:
        with self.changed:
            key = (_namespace(resource, obj), obj["metadata"]["name"])
            before = self._objects[resource.key].pop(key, None)
            if before is not None:
                self._note(resource, before, None)

    def begin_deletion(self, resource: Resource, obj: Object, grace_seconds: int = 0) -> Object:
        """Gone at once, or marked until its finalizers (or a pod's processes) are."""
        with self.changed:
            if resource == NAMESPACES:
                return self.amend(resource, obj, _terminate)
            if obj["metadata"].get("deletionTimestamp") and grace_seconds:
                return obj
            if obj["metadata"].get("finalizers") or grace_seconds:
                return self.amend(resource, obj, lambda new: _mark_deleted(new, grace_seconds))
            self.remove(resource, obj)
            return obj

    def since(self, version: int, key: Key) -> Iterator[Change]:
        with self.changed:
            start = len(self._changes)
            while start and self._changes[start - 1].version > version:
                start -= 1
            later = self._changes[start:]
        return (change for change in later if change.key == key)

    def forget_history(self) -> None:
        """As after a compaction: whoever watches or resumes from before now has to list again."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.changed.notify_all()

    def _put(self, resource: Resource, namespace: str, before: Object | None, new: Object) -> Object:
        self._objects.setdefault(resource.key, {})[(namespace, new["metadata"]["name"])] = new
        self._note(resource, before, new)
        return new

    def _note(self, resource: Resource, before: Object | None, after: Object | None) -> None:
        self.version += 1
        self.comings_and_goings += before is None or after is None
        last = after or copied(before or {})
        last["metadata"]["resourceVersion"] = str(self.version)
        self._changes.append(Change(self.version, resource.key, before, after, last))
        self.changed.notify_all()


def _namespace(resource: Resource, obj: Object) -> str:
    return str(obj["metadata"].get("namespace", "")) if resource.namespaced else ""


def _terminate(namespace: Object) -> None:
    namespace["metadata"].setdefault("deletionTimestamp", now())
    namespace["status"] = namespace.get("status", {}) | {"phase": "Terminating"}


def _mark_deleted(obj: Object, grace_seconds: int) -> None:
    obj["metadata"].setdefault("deletionTimestamp", now())
    obj["metadata"].setdefault("deletionGracePeriodSeconds", grace_seconds)


def _may_go(before: Object, new: Object) -> bool:
    had, has = before["metadata"].get("finalizers"), new["metadata"].get("finalizers")
    if new["kind"] == "Namespace":
        return bool(new["metadata"].get("deletionTimestamp")) and not new["spec"].get("finalizers") and not has
    return bool(new["metadata"].get("deletionTimestamp") and had and not has)


def _body(obj: Object) -> Object:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status", "apiVersion", "kind")}


def _same(before: Object, new: Object) -> bool:
    version = {"resourceVersion": before["metadata"]["resourceVersion"]}
    return before == new | {"metadata": new["metadata"] | version}


def _managed(obj: Object, resource: Resource, manager: str) -> Object:
    fields: Object = {f"f:{key}": {} for key in obj if key not in ("apiVersion", "kind", "metadata")}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": resource.api_version,
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
