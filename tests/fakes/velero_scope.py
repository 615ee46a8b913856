"""Which objects a Backup or a Restore is about, by the fields that both have."""

from __future__ import annotations

from tests.fakes.kinds import BY_FULL_NAME, Resource
from tests.fakes.selectors import labels_of, matches
from tests.fakes.store import Object

NOT_RESTORABLE = ("nodes", "events", "events.events.k8s.io", "backups.velero.io", "restores.velero.io",
                  "resticrepositories.velero.io", "csinodes.storage.k8s.io", "volumeattachments.storage.k8s.io",
                  "backuprepositories.velero.io")  # fmt: skip
FIRST = ("customresourcedefinitions.apiextensions.k8s.io", "namespaces", "storageclasses.storage.k8s.io",
         "persistentvolumes", "persistentvolumeclaims", "clusterroles.rbac.authorization.k8s.io",
         "roles.rbac.authorization.k8s.io", "serviceaccounts", "clusterrolebindings.rbac.authorization.k8s.io",
         "rolebindings.rbac.authorization.k8s.io", "secrets", "configmaps", "limitranges", "pods", "replicasets.apps",
         "endpoints", "services")  # fmt: skip


def order(resource: str) -> tuple[int, str]:
    """Velero's order of restoring: its priorities, then by name."""
    return (FIRST.index(resource) if resource in FIRST else len(FIRST), resource)


def has_namespace(spec: Object, name: str) -> bool:
    return _within(spec.get("includedNamespaces"), spec.get("excludedNamespaces"), {name})


def has_resource(spec: Object, full_name: str) -> bool:
    known = BY_FULL_NAME[full_name]
    names = {known.full, known.plural, known.kind.lower(), *known.short}
    return _within(spec.get("includedResources"), spec.get("excludedResources"), names)


def has_labels(spec: Object, obj: Object) -> bool:
    """By the object's own labels, not those of the pods it would make."""
    labels, either = labels_of(obj), spec.get("orLabelSelectors")
    if either:
        return any(matches(one, labels) for one in either)
    return spec.get("labelSelector") is None or matches(spec["labelSelector"], labels)


def _within(included: list[str] | None, excluded: list[str] | None, names: set[str]) -> bool:
    if excluded and ("*" in excluded or names & set(excluded)):
        return False
    return not included or "*" in included or bool(names & set(included))


def unknown_to_restore(spec: Object) -> list[str]:
    return [one for one in NOT_RESTORABLE if one in (spec.get("includedResources") or [])]


def resource_of(full_name: str) -> Resource:
    return BY_FULL_NAME[full_name]
