"""What a namespace gets when it is made, how it ends, and the collector of objects whose owners are gone."""

from __future__ import annotations

from tests.fakes.core import Controller, Core
from tests.fakes.kinds import ALL, CONFIG_MAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Resource
from tests.fakes.store import Object, now

ROOT_CA = "kube-root-ca.crt"


def with_root_ca(certificate: str) -> Controller:
    def reconcile(core: Core) -> None:
        for namespace in core.store.list(NAMESPACES):
            if namespace["metadata"].get("deletionTimestamp"):
                _end(core, namespace)
            else:
                _furnish(core, namespace["metadata"]["name"], certificate)
        _collect(core)

    return reconcile


def _furnish(core: Core, name: str, certificate: str) -> None:
    if core.store.find(SERVICE_ACCOUNTS, name, "default") is None:
        core.store.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default", "namespace": name}})
    if core.store.find(CONFIG_MAPS, name, ROOT_CA) is None:
        described = {"kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver"}
        meta = {"name": ROOT_CA, "namespace": name, "annotations": described}
        core.store.create(CONFIG_MAPS, {"metadata": meta, "data": {"ca.crt": certificate}})


def _end(core: Core, namespace: Object) -> None:
    """Everything but pods goes at once; the pods after their time; then what finalizers hold decides."""
    name, uid = namespace["metadata"]["name"], namespace["metadata"]["uid"]
    for resource in _namespaced():
        for obj in core.store.list(resource, name):
            if not obj["metadata"].get("deletionTimestamp"):
                core.store.begin_deletion(resource, obj, grace_seconds=30 if resource == PODS else 0)
    late = core.timers.elapsed(("namespace", uid), core.settings.termination_seconds)
    left = {one: len(core.store.list(one, name)) for one in _namespaced()}
    held = sorted({mark for one in _namespaced() for obj in core.store.list(one, name)
                   for mark in obj["metadata"].get("finalizers") or []})  # fmt: skip
    core.store.amend(NAMESPACES, namespace, lambda new: _conditions(new, left, held))
    if late and not any(left.values()):
        core.store.amend(NAMESPACES, namespace, lambda new: new["spec"].update(finalizers=[]))


def _namespaced() -> list[Resource]:
    return [one for one in ALL if one.namespaced and one.stored_as is None and "list" in one.verbs]


def _conditions(namespace: Object, left: dict[Resource, int], held: list[str]) -> None:
    rest = ", ".join(f"{one.plural}.{one.group} has {n} resource instances" for one, n in left.items() if n)
    marks = ", ".join(f"{mark} in 1 resource instances" for mark in held)
    told = [
        ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered", ""),
        ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions",
         "All legacy kube types successfully parsed", ""),
        ("NamespaceDeletionContentFailure", "ContentDeleted",
         "All content successfully deleted, may be waiting on finalization", ""),
        ("NamespaceContentRemaining", "SomeResourcesRemain" if rest else "ContentRemoved",
         f"Some resources are remaining: {rest}" if rest else "All content successfully removed", rest),
        ("NamespaceFinalizersRemaining", "SomeFinalizersRemain" if marks else "ContentHasNoFinalizers",
         f"Some content in the namespace has finalizers remaining: {marks}" if marks
         else "All content-preserving finalizers finished", marks),
    ]  # fmt: skip
    old = {one["type"]: one for one in namespace["status"].get("conditions", [])}
    namespace["status"]["conditions"] = [
        {"type": kind, "status": str(bool(bad)), "reason": reason, "message": message,
         "lastTransitionTime": old.get(kind, {}).get("lastTransitionTime", now())}
        for kind, reason, message, bad in told
    ]  # fmt: skip


def _collect(core: Core) -> None:
    """Only when something came or went since; owners do not change."""
    if core.notes.get("collected") == core.store.comings_and_goings:
        return
    core.notes["collected"] = core.store.comings_and_goings
    alive = core.store.uids()
    for resource in _namespaced():
        for obj in core.store.list(resource):
            owners = obj["metadata"].get("ownerReferences") or []
            if owners and not any(one["uid"] in alive for one in owners):
                core.store.begin_deletion(resource, obj, grace_seconds=30 if resource == PODS else 0)
