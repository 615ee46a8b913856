"""What a restore does to the cluster: the objects of the backup in Velero's order, each prepared, changed, created."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.fakes import admission, patches, velero_disk, velero_items, velero_scope
from tests.fakes.core import Core
from tests.fakes.kinds import CLAIMS, NAMESPACES, PODS, RESTORES, SERVICE_ACCOUNTS, VOLUME_BACKUPS, VOLUMES, Resource
from tests.fakes.namespaces import ROOT_CA
from tests.fakes.selectors import labels_of
from tests.fakes.statuses import ApiError
from tests.fakes.store import Object, copied, now
from tests.fakes.velero import NAMESPACE, label, phase, set_status
from tests.fakes.velero_disk import Items
from tests.fakes.velero_modifiers import Modifiers
from tests.fakes.velero_volumes import begin_volume_restores


@dataclass
class Work:
    """What is remembered of a restore under way."""

    server: str
    modifiers: Modifiers
    errors: dict[str, list[str]] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)
    restored: list[tuple[Resource, str, str, str]] = field(default_factory=list)
    prepared: bool = False  # the namespaces are there
    applied: bool = False
    log: list[str] = field(default_factory=list)

    def fail(self, namespace: str, why: str) -> None:
        self.errors.setdefault(namespace, []).append(why)
        self.log.append(f'time="{now()}" level=error msg="{why}"')

    def warn(self, namespace: str, why: str) -> None:
        self.warnings.setdefault(namespace, []).append(why)
        self.log.append(f'time="{now()}" level=warning msg="{why}"')


def prepare(core: Core, restore: Object) -> None:
    items = velero_disk.read_contents(core, restore["spec"]["backupName"])
    mapping = restore["spec"].get("namespaceMapping") or {}
    for namespace in sorted({key[1] for key in items if key[1]}):
        if velero_scope.has_namespace(restore["spec"], namespace):
            _ensure_namespace(core, items, restore, namespace, mapping.get(namespace, namespace))


def apply(core: Core, restore: Object, work: Work) -> None:
    spec, items = restore["spec"], velero_disk.read_contents(core, restore["spec"]["backupName"])
    for key in sorted(items, key=lambda one: (velero_scope.order(one[0]), one[1:])):
        resource, obj = velero_scope.resource_of(key[0]), items[key]
        if resource.full in core.settings.kinds_gone:
            continue  # "cannot be resolved via discovery": Velero skips it and says Completed
        if not resource.namespaced or not velero_scope.has_namespace(spec, key[1]):
            continue
        if velero_scope.has_resource(spec, key[0]) and velero_scope.has_labels(spec, obj):
            _item(core, restore, work, items, resource, obj)
    count = len(work.restored)
    set_status(core, RESTORES, restore, progress={"totalItems": count, "itemsRestored": count})


def _item(core: Core, restore: Object, work: Work, items: Items, resource: Resource, obj: Object) -> None:
    meta, settings = obj["metadata"], core.settings
    if velero_items.is_finished(resource, obj) or f"{resource.full}/{meta['name']}" in settings.restore_omits:
        return
    source = meta["namespace"]
    target = (restore["spec"].get("namespaceMapping") or {}).get(source, source)
    saved = _volume_backups(core, restore, source, meta["name"]) if resource == PODS else {}
    provision = resource == CLAIMS and _provisioned_anew(core, restore, work, items, obj)
    new = velero_items.prepared(resource, obj, restore, set(saved), provision=provision)
    for subject in new.get("subjects") or [] if resource.kind == "RoleBinding" else []:
        mapping = restore["spec"].get("namespaceMapping") or {}
        subject["namespace"] = mapping.get(subject.get("namespace"), subject.get("namespace"))
    try:
        new = work.modifiers.apply(resource.full, new)
    except patches.PatchFailed as error:
        work.fail(source, f"error in applying patch {error}")
    new["metadata"]["namespace"] = target
    created = _create(core, restore, work, resource, velero_items.labelled(new, restore))
    if created is not None and saved:
        begin_volume_restores(core, restore, created, saved, source)


def _ensure_namespace(core: Core, items: Items, restore: Object, source: str, target: str) -> None:
    if core.store.find(NAMESPACES, "", target) is None:
        new = velero_items.plain(items.get((NAMESPACES.full, "", source)) or {"metadata": {}})
        new["metadata"]["name"] = target
        admission.on_create(core.store, NAMESPACES, new)
        core.store.create(NAMESPACES, new, manager="velero-server")


def _volume_backups(core: Core, restore: Object, namespace: str, pod: str) -> dict[str, Object]:
    """The completed volume backups of one pod, by volume."""
    mark, found = label(restore["spec"]["backupName"]), {}
    for one in core.store.list(VOLUME_BACKUPS, NAMESPACE):
        owner = one["spec"]["pod"]
        is_of_pod = (owner["namespace"], owner["name"]) == (namespace, pod)
        if is_of_pod and labels_of(one).get("velero.io/backup-name") == mark and phase(one) == "Completed":
            found[one["spec"]["volume"]] = one
    return found


def _provisioned_anew(core: Core, restore: Object, work: Work, items: Items, claim: Object) -> bool:
    """Whether the claim's old volume is not brought back: it has a volume backup, or would be deleted when released."""
    volume = items.get((VOLUMES.full, "", claim["spec"].get("volumeName", "")))
    if volume is None:
        return False
    mark, uid = label(restore["spec"]["backupName"]), claim["metadata"]["uid"]
    saved = any(
        labels_of(one).get("velero.io/backup-name") == mark and labels_of(one).get("velero.io/pvc-uid") == uid
        for one in core.store.list(VOLUME_BACKUPS, NAMESPACE)
    )
    if saved or volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete":
        return True
    _create(core, restore, work, VOLUMES, velero_items.labelled(
        velero_items.prepared(VOLUMES, volume, restore, set(), provision=False), restore))  # fmt: skip
    return False


def _create(core: Core, restore: Object, work: Work, resource: Resource, new: Object) -> Object | None:
    """The object if it was created; one that exists is left, and warned of when it differs."""
    meta = new["metadata"]
    namespace = meta.get("namespace", "") if resource.namespaced else ""
    known = core.store.find(resource, namespace, meta["name"])
    if known is not None:
        _exists(core, restore, work, resource, known, new)
        return None
    try:
        admission.on_create(core.store, resource, new)
        created = core.store.create(resource, new, manager="velero-server")
    except ApiError as error:
        work.fail(namespace, f"error restoring {resource.full}/{namespace}/{meta['name']}: {error}")
        return None
    work.restored.append((resource, namespace, meta["name"], "created"))
    return created


def _exists(core: Core, restore: Object, work: Work, resource: Resource, known: Object, new: Object) -> None:
    name, namespace = known["metadata"]["name"], known["metadata"].get("namespace", "")
    work.restored.append((resource, namespace, name, "skipped"))
    same = velero_items.labelled(velero_items.plain(known), restore) == new
    if resource == SERVICE_ACCOUNTS or (same and name != ROOT_CA):
        return
    if restore["spec"].get("existingResourcePolicy") != "update":
        why = "already exists. Warning: the in-cluster version is different than the backed-up version"
        work.warn(namespace, f"could not restore, {resource.kind}:{name} {why}")
        return
    wanted = patches.merge(copied(known), {key: value for key, value in new.items() if key != "metadata"})
    wanted["metadata"]["labels"] = new["metadata"]["labels"]
    try:
        admission.on_update(resource, known, wanted)
        core.store.update(resource, wanted)
        work.restored[-1] = (resource, namespace, name, "updated")
    except ApiError as error:
        work.warn(namespace, str(error))
