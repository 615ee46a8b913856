"""Is the copy in the sandbox what the backup holds? Compared like a recovery, changes made on purpose being known."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime, timedelta

from runbooks import compare, kube, sandbox
from runbooks.errors import RecoveryError, Refused
from runbooks.kube import at, items, table
from runbooks.records import KubeObject, State, StoreLoss
from runbooks.site import Files, Markers
from tasks import cluster_state, files, losses, observer, skews, validation
from tasks import sandbox as sandboxes
from tasks.cases import Case
from tasks.clients.kubernetes import Api
from tasks.digests import hmac_key
from tasks.losses import Count
from tasks.plans import BackupRecord
from tasks.steps import step
from tasks.validation import Compared

BEFORE_BACKUP = timedelta(minutes=10)
READ_WITHIN = timedelta(minutes=2)
HELD = "the pods of the sandbox are holders of volumes, not the application's: its pods are not compared"
SILENCED = "annotations are taken off every object in the sandbox, and are not compared"


@step
def compare_objects(case: Case) -> Compared:
    """Every object of the backup is in the sandbox, changed only as the sandbox changes it. Kinds that stay out of a
    sandbox are named as not checked."""
    record, made = case.load("backup", BackupRecord), sandboxes.of(case)
    key = hmac_key(case)
    with case.connect() as api:
        snapshots = {n: cluster_state.snapshot(api, name, key) for n, name in made.names.items()}
    total = Compared(compared=0, differences=0)
    for namespace, after in snapshots.items():
        there = [o for o in record.objects if validation.lives_in(o, namespace)]
        found = compare.objects(
            [sandbox.expected(o, made.names) for o in there if sandbox.is_compared(o)],
            [o for o in after.objects if sandbox.is_compared(o)],
        )
        where = f"objects of namespace {namespace} in the sandbox"
        validation.note(case, where, f"as in backup {record.backup.name}, but silenced", found)
        total = Compared(
            compared=total.compared + found.compared, differences=total.differences + len(found.differences)
        )
    case.checks([], [HELD, SILENCED, *_left_out(record.objects)])
    return total


def _left_out(objects: Iterable[KubeObject]) -> list[str]:
    """What a person would miss: not what is made anew by its owner, or by the cluster, in any restore."""
    side = kube.Side(objects)
    named = (
        o
        for o in side.by_key.values()
        if not sandbox.holds(o) and kube.key(o).namespace and compare.objects([o], []).differences
    )
    return [f"{o.label}: not restored into a sandbox" for o in named]


@step
def compare_files(case: Case) -> Compared:
    """Every file of each volume is in the copy as it was recorded while the backup was taken."""
    record, before = case.load("backup", BackupRecord), case.load("before", State)
    restored, began = case.clock("restored"), record.backup.started_at
    total = Compared(compared=0, differences=0)
    for wanted in case.application.files:
        name = f"files of {wanted.store} in the sandbox"
        try:
            with case.connect() as api:
                after = files.manifest(api, in_sandbox(case, api, wanted))
        except RecoveryError as error:
            case.checks([validation.not_run(name, "checksums of every file", error.problem)])
            continue
        found = compare.files(
            validation.state_of(record.state, wanted.store),
            next((m for m in before.files if m.store == wanted.store), None),
            backup_started_at=began and skews.theirs(case, began),
            restored_at=skews.theirs(case, restored),
            after=after,
        )
        validation.note(case, name, f"as in backup {record.backup.name}", found)
        total = Compared(
            compared=total.compared + found.compared, differences=total.differences + len(found.differences)
        )
    if not case.application.files:
        case.note("unknown", what="what is in the volumes of the copy: the site file names no files to compare")
    return total


def in_sandbox(case: Case, api: Api, wanted: Files) -> Files:
    """The same files in the holder of a pod that mounts the claim: it sees them where the application's container did.

    Raises:
        Refused: no such pod was restored.
    """
    namespace = sandboxes.names(case)[wanted.namespace]
    for pod in sandboxes.pods(case, api):
        claims = [at(table(v), "persistentVolumeClaim", "claimName") for v in items(pod["spec"].get("volumes"))]
        containers = [c["name"] for c in pod["spec"]["containers"]]
        if pod["metadata"]["namespace"] == namespace and wanted.claim in claims and wanted.container in containers:
            pinned = f"{sandbox.HELD_POD}={pod['metadata']['labels'][sandbox.HELD_POD]}"
            return wanted.model_copy(update={"namespace": namespace, "selector": pinned})
    raise Refused(
        f"no pod in the sandbox holds {wanted.store} in a container {wanted.container}",
        "was it in the backup? velero backup describe NAME --details",
    )


@step
def count_loss(case: Case) -> tuple[StoreLoss, ...]:
    """How much would be missing had it been declared lost: from `declared` back to the last marker in the copy."""
    declared = case.clock("declared")
    stores = (
        *(_files_lost(case, f, declared) for f in case.application.files),
        *(_objects_lost(case, n, declared) for n in case.application.namespaces),
    )
    case.note("stores", stores=[s.model_dump(mode="json") for s in stores])
    return stores


def _files_lost(case: Case, wanted: Files, declared: datetime) -> StoreLoss:
    record = case.load("backup", BackupRecord)
    markers = next((m for m in case.application.markers if m.store == wanted.store and m.found_in is not None), None)
    found = Count(rpo_seconds=None, lost=None, given_up=None)
    if markers is not None:
        try:
            found = _counted(case, wanted, markers, declared)
        except RecoveryError as error:
            case.note("unknown", what=f"loss of {wanted.store}: {error.problem}")
    return StoreLoss(
        name=wanted.store,
        rpo_seconds=found.rpo_seconds,
        bound_seconds=_bound(record, declared),
        lost=found.lost,
        given_up=None,
        backup=record.summary(),
    )


def _bound(record: BackupRecord, declared: datetime) -> float | None:
    began = record.backup.started_at
    return None if began is None else (declared - began).total_seconds()


def _counted(case: Case, wanted: Files, markers: Markers, declared: datetime) -> Count:
    began = case.load("backup", BackupRecord).backup.started_at or declared
    where, name = observer.directory(case.site, case.run_id), case.application.name
    gone = losses.lost_before(where, name, markers.store, declared)
    written = [m for m in losses.of(where, name, markers.store, began - BEFORE_BACKUP) if m.seq not in gone]
    with case.connect() as api:
        text = _read(api, in_sandbox(case, api, wanted), str(markers.found_in))
    return losses.count(written, {m.seq for m in written if m.id in text}, declared)


def _read(api: Api, wanted: Files, folder: str) -> str:
    pods = api.list("v1", "Pod", namespace=wanted.namespace, selector=wanted.selector)
    script = f"cd {shlex.quote(wanted.path)} && find {shlex.quote(folder)} -type f -exec cat {{}} +"
    done = api.exec(
        wanted.namespace, pods[0]["metadata"]["name"], wanted.container, ["sh", "-c", script], within=READ_WITHIN
    )
    if done.exit_code != 0:
        why = done.stderr.decode(errors="replace")[:200]
        raise Refused(f"the markers in {folder} cannot be read: {why}", "is found_in right in the site file?")
    return done.stdout.decode(errors="replace")


def _objects_lost(case: Case, namespace: str, declared: datetime) -> StoreLoss:
    record = case.load("backup", BackupRecord)
    before = next(s for s in case.load("before", State).namespaces if s.namespace == namespace)
    lost = compare.loss(before.objects, [o for o in record.objects if validation.lives_in(o, namespace)]).differences
    bound = _bound(record, declared)
    return StoreLoss(
        name=f"cluster_objects:{namespace}",
        rpo_seconds=bound if lost else 0.0,
        bound_seconds=bound,
        lost=len(lost),
        given_up=None,
        backup=record.summary(),
    )
