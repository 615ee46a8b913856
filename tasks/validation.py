"""Is it back? Every comparison becomes checks; a check that could not be made is red.

All comparisons are made before anything is judged, so that the report names every difference and not the first one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from runbooks import compare, kube
from runbooks.compare import Comparison
from runbooks.errors import RecoveryError
from runbooks.model import Instant, Model
from runbooks.records import BackupState, Check, CheckStatus, KubeObject, Snapshot, State, StoreLoss
from runbooks.site import Files
from tasks import cluster_state, gate, incident_plans, plans, probes, skews
from tasks.cases import Case
from tasks.steps import step
from tasks.velero import BackupRecord

T = TypeVar("T")
SHOWN = 50


class Compared(Model):
    """How much was compared, and how much differed."""

    compared: int
    differences: int


@step
def compare_objects(case: Case) -> Compared:
    """Records the state after, and compares every object with the backup: after must equal backup."""
    backup = case.load("backup", BackupRecord)
    before = case.load("before", State)
    after = cluster_state.record_after(case)
    total = Compared(compared=0, differences=0)
    for snapshot in after.namespaces:
        old = next(s for s in before.namespaces if s.namespace == snapshot.namespace)
        survives = incident_plans.survives(case, snapshot.namespace)
        kept = survives or (case.is_drill and not case.is_broken())
        expected, like = _expected(case, backup, old)
        found = compare.objects(expected, snapshot.objects)
        note(case, f"objects of namespace {snapshot.namespace}", like, found)
        known = compare.identities(old, snapshot, deleted=not kept)
        same = "what survived is the same" if kept else "recreated, nothing left over"
        note(case, f"identities in namespace {snapshot.namespace}", same, known)
        if not survives:
            _note_held(case, backup, snapshot.namespace)
        case.checks([_listable(snapshot.namespace, old.unlistable, snapshot.unlistable)])
        total = _sum(total, found)
    return total


def _note_held(case: Case, backup: BackupRecord, namespace: str) -> None:
    """After must equal backup, and the backup what was there: else what a backup lacks is missed by nobody."""
    name = f"objects of namespace {namespace} in backup {backup.backup.name}"
    found = plans.held(backup, namespace)
    if found is None:
        case.checks([], [f"{name}: not compared with the cluster, the observer did not record it"])
        return
    named = tuple(d.model_copy(update={"where": f"in the backup: {d.where}"}) for d in found.differences)
    note(case, name, "as the observer saw them", found.model_copy(update={"differences": named}))


def _expected(case: Case, backup: BackupRecord, before: Snapshot) -> tuple[list[KubeObject], str]:
    """What must be there after: all of the backup; in a namespace that survives what survived, and what was missing."""
    held = [o for o in backup.objects if lives_in(o, before.namespace)]
    if not incident_plans.survives(case, before.namespace):
        return held, f"as in backup {backup.backup.name}"
    missing = {
        label for one in incident_plans.diagnoses(case) if one.namespace == before.namespace for label in one.missing
    }
    return [*(o for o in before.objects if o.label not in missing), *(o for o in held if o.label in missing)], (
        f"what survived as before, what was missing as in backup {backup.backup.name}"
    )


def lives_in(thing: KubeObject, namespace: str) -> bool:
    if thing.kind == "Namespace":
        return thing.name == namespace
    metadata = thing.body["metadata"]
    return isinstance(metadata, dict) and metadata.get("namespace") == namespace


def _listable(namespace: str, before: tuple[str, ...], after: tuple[str, ...]) -> Check:
    """A kind that could be listed before and not after was not compared."""
    missing = sorted(set(after) - set(before))
    return Check(
        name=f"kinds listable in namespace {namespace}",
        expected="all that were before",
        observed="all" if not missing else f"not {', '.join(missing)}",
        status=CheckStatus.PASSED if not missing else CheckStatus.NOT_RUN,
    )


@step
def compare_files(case: Case) -> Compared:
    """Compares every file of each volume with what the observer saw while the backup was taken."""
    backup = case.load("backup", BackupRecord)
    before = case.load("before", State)
    after = {m.store: m for m in case.load("after", State).files}
    restored, began = _restore_began(case), backup.backup.started_at
    total = Compared(compared=0, differences=0)
    for files in case.application.files:
        name = f"files of {files.store}"
        if incident_plans.survives(case, files.namespace):
            _note_survivor(case, files)
            continue
        if files.store not in after:
            case.checks([not_run(name, "checksums of every file", "the files could not be listed after the restore")])
            continue
        found = compare.files(
            state_of(backup.state, files.store),
            next((m for m in before.files if m.store == files.store), None),
            backup_started_at=began and skews.theirs(case, began),
            restored_at=skews.theirs(case, restored),
            after=after[files.store],
        )
        note(case, name, f"as in backup {backup.backup.name}", found)
        total = _sum(total, found)
    return total


def _note_survivor(case: Case, files: Files) -> None:
    """Its files were not restored, and nobody had listed them before: all that can be proven is that it is the same."""
    before, after = (_claim(case.load(when, State), files) for when in ("before", "after"))
    check = Check(
        name=f"volume {files.namespace}/{files.claim} left alone",
        expected=before or "the claim with its volume",
        observed=after or "no such claim",
        status=CheckStatus.PASSED if before and before == after else CheckStatus.FAILED,
    )
    case.checks([check], [f"files of {files.store}: the volume survived, its files were not compared"])


def _claim(state: State, files: Files) -> str:
    """UID and volume of the claim."""
    for thing in (o for s in state.namespaces if s.namespace == files.namespace for o in s.objects):
        if (thing.kind, thing.name) == ("PersistentVolumeClaim", files.claim):
            return f"{thing.uid} on {kube.at(thing.body, 'spec', 'volumeName')}"
    return ""


def _restore_began(case: Case) -> Instant:
    """A pod may write as soon as its volume is back, long before all are seen ready: such new files are no harm."""
    begun = (e.at for e in case.journal.of("write") if e.step == "velero.restore")
    return next(begun, None) or case.clock("restored")


def state_of(state: BackupState | None, store: str) -> BackupState | None:
    """The part about one store, or None when the observer did not see it."""
    if state is None:
        return None
    started = tuple(m for m in state.started if m.store == store)
    ended = tuple(m for m in state.ended if m.store == store)
    return state.model_copy(update={"started": started, "ended": ended}) if started and ended else None


@step
def compare_rows(case: Case) -> Compared:
    """Compares the rows up to the keys that were recorded before: they must be there, unchanged."""
    before = case.load("before", State).rows
    after = {r.store: r for r in case.load("after", State).rows}
    total = Compared(compared=0, differences=0)
    for old in before:
        if old.store not in after:
            case.checks([not_run(old.store, "rows as before", "the database did not answer")])
            continue
        found = compare.rows(old, after[old.store])
        note(case, old.store, "rows as before, up to the keys recorded then", found)
        total = _sum(total, found)
    return total


@step
def ask_inside(case: Case) -> None:
    """Asks each pod of each Service the site's questions, through the API server: no client needs to be let in."""
    with case.connect() as api:
        within = case.within("validate")
        checks = made("pods answer from inside", lambda: probes.ask_pods(api, case.application, within))
    case.checks(checks)
    case.must_be_green()


@step
def ask_outside(case: Case) -> None:
    """Asks as a client does; a wrong answer closes the gate again. All green: validated."""
    checks = made("answers from outside", lambda: probes.ask_outside(case))
    case.checks(checks)
    try:
        case.must_be_green()
    except RecoveryError:
        gate.close(case)
        raise
    case.clock("validated")


@step
def count_loss(case: Case) -> tuple[StoreLoss, ...]:
    """What is missing for good, store by store, counted by the observer's markers."""
    stores = (*probes.count_loss(case), *(_objects_lost(case, n) for n in case.application.namespaces))
    case.note("stores", stores=[s.model_dump(mode="json") for s in stores])
    return stores


def _objects_lost(case: Case, namespace: str) -> StoreLoss:
    """0 if the namespace was as in the backup, else everything since the backup began."""
    record = case.load("backup", BackupRecord)
    before = next(s for s in case.load("before", State).namespaces if s.namespace == namespace)
    lost = compare.loss(before.objects, [o for o in record.objects if lives_in(o, namespace)])
    fault, began = case.clock_of("fault"), record.backup.started_at
    since = None if began is None else ((fault or case.journal.entries[0].at) - began).total_seconds()
    if not case.is_drill:
        return _objects_lost_in_incident(case, namespace, record, since)
    return StoreLoss(
        name=f"cluster_objects:{namespace}",
        rpo_seconds=0.0 if not lost.differences else (since if fault else None),
        bound_seconds=since,
        lost=len(lost.differences),
        given_up=None,
        backup=record.summary(),
    )


def _objects_lost_in_incident(case: Case, namespace: str, record: BackupRecord, since: float | None) -> StoreLoss:
    """Nobody recorded them while all was well: what is restored may have changed since the backup."""
    survives = incident_plans.survives(case, namespace)
    return StoreLoss(
        name=f"cluster_objects:{namespace}",
        rpo_seconds=0.0 if survives and not _was_incomplete(case, namespace) else None,
        bound_seconds=since,
        lost=None,
        given_up=None,
        backup=record.summary(),
    )


def _was_incomplete(case: Case, namespace: str) -> bool:
    return any(one.missing for one in incident_plans.diagnoses(case) if one.namespace == namespace)


def note(case: Case, name: str, expected: str, found: Comparison) -> None:
    """One check for the whole, and one for each difference, so that the report names it."""
    count = len(found.differences)
    whole = Check(
        name=name,
        expected=expected,
        observed=f"{found.compared} compared, {count} different",
        status=CheckStatus.FAILED if count else CheckStatus.PASSED,
    )
    named = [
        Check(name=d.where, expected=d.expected, observed=d.observed, status=CheckStatus.FAILED)
        for d in found.differences[:SHOWN]
    ]
    case.checks([whole, *named], list(found.weakly_checked))


def made(name: str, make: Callable[[], list[Check]]) -> list[Check]:
    try:
        return make()
    except RecoveryError as error:
        return [not_run(name, "an answer", error.problem)]


def not_run(name: str, expected: str, why: str) -> Check:
    return Check(name=name, expected=expected, observed=why, status=CheckStatus.NOT_RUN)


def _sum(total: Compared, found: Comparison) -> Compared:
    return Compared(compared=total.compared + found.compared, differences=total.differences + len(found.differences))
