"""Restore objects: New → InProgress → Finalizing → Completed, or as far as it goes."""

from __future__ import annotations

from tests.fakes import patches, velero_disk, velero_modifiers, velero_scope
from tests.fakes.core import Core
from tests.fakes.kinds import BACKUPS, CONFIG_MAPS, NAMESPACES, RESTORES, VOLUME_RESTORES
from tests.fakes.selectors import labels_of
from tests.fakes.statuses import ApiError
from tests.fakes.store import Object, now
from tests.fakes.velero import NAMESPACE, phase, server, set_status
from tests.fakes.velero_applying import Work, apply, prepare
from tests.fakes.velero_modifiers import BadModifiers, Modifiers

INTERRUPTED = 'found a restore with status "InProgress" during the server starting, mark it as "Failed"'
FINALIZER = "restores.velero.io/external-resources-finalizer"
FINAL = ("Completed", "Failed", "Canceled")


def reconcile(core: Core) -> None:
    running = server(core)
    if running is None:
        return
    for restore in core.store.list(RESTORES, NAMESPACE):
        if restore["metadata"].get("deletionTimestamp"):
            core.store.amend(RESTORES, restore, lambda new: new["metadata"].pop("finalizers"))
            continue
        match phase(restore):
            case "New":
                _begin(core, restore, running)
            case "InProgress":
                _go_on(core, restore, running)
            case "Finalizing" | "FinalizingPartiallyFailed":
                end = "Completed" if phase(restore) == "Finalizing" else "PartiallyFailed"
                set_status(core, RESTORES, restore, phase=end, completionTimestamp=now())


def _begin(core: Core, restore: Object, running: str) -> None:
    problems, modifiers = _validate(core, restore)
    if core.settings.restore_phase == "FailedValidation":
        problems.append("not valid, as the setting restore_phase says")
    if problems:
        set_status(core, RESTORES, restore, phase="FailedValidation", validationErrors=problems)
        return
    backup = core.store.get(BACKUPS, NAMESPACE, restore["spec"]["backupName"])

    def complete(new: Object) -> None:
        new["metadata"]["finalizers"] = [FINALIZER]
        spec, excluded = new["spec"], new["spec"].get("excludedResources") or []
        extra = [one for one in velero_scope.NOT_RESTORABLE if one not in excluded]
        spec |= {"excludedResources": excluded + extra, "itemOperationTimeout": "4h0m0s"}
        if schedule := labels_of(backup).get("velero.io/schedule-name"):
            spec["scheduleName"] = schedule  # the trap: a spec posted back now names both
        new["status"] = {"phase": "InProgress", "startTimestamp": now()}

    core.store.amend(RESTORES, restore, complete)
    core.notes[("restore", restore["metadata"]["uid"])] = Work(running, modifiers)
    core.timers.elapsed(("restore", restore["metadata"]["uid"]), core.settings.restore_seconds)


def _validate(core: Core, restore: Object) -> tuple[list[str], Modifiers]:
    spec, problems, modifiers = restore["spec"], [], Modifiers()
    if bool(spec.get("backupName")) == bool(spec.get("scheduleName")):
        problems.append("Either a backup or schedule must be specified as a source for the restore, but not both")
    elif core.store.find(BACKUPS, NAMESPACE, spec.get("backupName", "")) is None:
        problems.append(f'Error retrieving backup: backups.velero.io "{spec.get("backupName")}" not found')
    problems += [f"{one} are non-restorable resources" for one in velero_scope.unknown_to_restore(spec)]
    if spec.get("labelSelector") and spec.get("orLabelSelectors"):
        both = "encountered labelSelector as well as orLabelSelectors in restore spec, only one can be specified"
        problems.append(both)
    if reference := spec.get("resourceModifier"):
        try:
            modifiers = velero_modifiers.read(core.store.get(CONFIG_MAPS, NAMESPACE, reference["name"]))
        except ApiError:
            problems.append(f"failed to get resource modifiers configmap {NAMESPACE}/{reference['name']}")
        except BadModifiers as error:
            problems.append(f"Error in parsing resource modifiers provided in configmap {NAMESPACE}/{reference['name']}"
                            f" {error}")  # fmt: skip
    return problems, modifiers


def _go_on(core: Core, restore: Object, running: str) -> None:
    uid, work = restore["metadata"]["uid"], core.notes.get(("restore", restore["metadata"]["uid"]))
    if work is None or work.server != running:
        _cancel_volumes(core, restore)
        _fail(core, restore, INTERRUPTED)
        return
    if not work.applied:
        if _waits_for_namespace(core, restore):
            return
        if not work.prepared:  # what a new namespace gets by itself is there before Velero goes on
            work.prepared = True
            prepare(core, restore)
            return
        apply(core, restore, work)
        work.applied = True
    if core.settings.restore_phase == "Failed" and core.timers.elapsed(("restore", uid), core.settings.restore_seconds):
        _cancel_volumes(core, restore)
        _fail(core, restore, "restore execution failed: as the setting restore_phase says")
        return
    volumes = _volume_restores(core, restore)
    if core.settings.restore_phase == "InProgress" or not all(phase(one) in FINAL for one in volumes):
        return
    if core.timers.elapsed(("restore", uid), core.settings.restore_seconds):
        _finalize(core, restore, work, volumes)


def _finalize(core: Core, restore: Object, work: Work, volumes: list[Object]) -> None:
    name = restore["metadata"]["name"]
    _alter(core, work)
    for one in volumes:
        if phase(one) != "Completed":
            work.fail(one["spec"]["pod"]["namespace"], f"pod volume restore failed: {one['status'].get('message')}")
    if core.settings.restore_phase == "PartiallyFailed":
        work.fail("", "as the setting restore_phase says")
    results = {"errors": _result(work.errors), "warnings": _result(work.warnings)}
    velero_disk.write_json(core, "RestoreResults", name, results)
    velero_disk.write_json(core, "RestoreResourceList", name, velero_disk.listed(work.restored))
    velero_disk.write_log(core, "RestoreLog", name, work.log)
    errors, warnings = _count(work.errors), _count(work.warnings)
    counts = {key: value for key, value in (("errors", errors), ("warnings", warnings)) if value}
    set_status(core, RESTORES, restore, phase="FinalizingPartiallyFailed" if errors else "Finalizing", hookStatus={},
               **counts)  # fmt: skip


def _alter(core: Core, work: Work) -> None:
    """What a test wants to be wrong with this restore, at its end: earlier, controllers would already act on it."""
    for wrong in core.settings.restore_alters:
        for resource, namespace, name, _ in work.restored:
            if wrong["object"] == f"{resource.full}/{name}":
                core.store.update(resource, patches.merge(core.store.get(resource, namespace, name), wrong["patch"]))


def _result(told: dict[str, list[str]]) -> Object:
    namespaces = {namespace: lines for namespace, lines in told.items() if namespace}
    cluster = {"cluster": told[""]} if told.get("") else {}
    return cluster | ({"namespaces": namespaces} if namespaces else {})


def _count(told: dict[str, list[str]]) -> int:
    return sum(map(len, told.values()))


def _fail(core: Core, restore: Object, why: str) -> None:
    set_status(core, RESTORES, restore, phase="Failed", failureReason=why, completionTimestamp=now())


def _volume_restores(core: Core, restore: Object) -> list[Object]:
    mark = restore["metadata"]["uid"]
    return [
        one for one in core.store.list(VOLUME_RESTORES, NAMESPACE) if labels_of(one)["velero.io/restore-uid"] == mark
    ]


def _cancel_volumes(core: Core, restore: Object) -> None:
    for one in _volume_restores(core, restore):
        if phase(one) not in FINAL:
            set_status(core, VOLUME_RESTORES, one, phase="Canceled", completionTimestamp=now())


def _waits_for_namespace(core: Core, restore: Object) -> bool:
    mapping = restore["spec"].get("namespaceMapping") or {}
    for namespace in core.store.list(NAMESPACES):
        name = namespace["metadata"]["name"]
        if namespace["metadata"].get("deletionTimestamp") and name in mapping.values():
            return True
        concerned = velero_scope.has_namespace(restore["spec"], name) and name not in mapping
        if namespace["metadata"].get("deletionTimestamp") and concerned:
            return True
    return False
