"""Velero's part of a recovery: which backup, is everything in it, restore it. Source: Velero 1.18, velero.io/v1."""

from __future__ import annotations

from runbooks.errors import Refused
from runbooks.model import Json, now
from runbooks.records import Backup, Check, CheckStatus, Severity
from tasks import (
    attempts,
    backups,
    downloads,
    gate,
    incident_backups,
    incident_plans,
    made,
    namespaces,
    pieces,
    plans,
    restores,
    velero_server,
)
from tasks.backups import Coverage
from tasks.cases import Case
from tasks.clients.kubernetes import Api
from tasks.digests import hmac_key, kube_object
from tasks.incident_plans import Way
from tasks.plans import BackupRecord
from tasks.restores import Restored
from tasks.steps import step

__all__ = [
    "BackupRecord", "choose_backup", "prove_coverage", "restore", "restore_objects", "safety_backup", "save_results",
]  # fmt: skip
KEPT = "72h0m0s"

# -- prepare ----------------------------------------------------------------------------------------------------------


@step
def choose_backup(case: Case) -> Backup:
    """The newest usable backup is chosen by rule; what it holds is in backup.json, and the plan in the journal.

    Changes: one DownloadRequest.

    Raises:
        Refused: Velero is not at work, no backup is usable, or (drill) nobody recorded what the backup must
            hold, or it lacks some of it.
        Unavailable: the object store did not hand out what is in the backup.
    """
    with case.connect() as api:
        if not case.is_drill:
            case.note("tools", velero=velero_server.wait_until_at_work(case, api))
            return _choose_for_incident(case, api)
        case.note("tools", velero=velero_server.must_be_at_work(api, case.cluster))
        choice = backups.choose(
            velero_server.all_backups(api, case.cluster), plans.wanted(case), named=plans.planned(case)
        )
        contents = downloads.fetch(case, api, "BackupContents", choice.backup.name, within=downloads.patience(case))
    key = hmac_key(case)
    record = BackupRecord(
        backup=choice.backup,
        objects=tuple(kube_object(body, key) for body in downloads.objects(contents) if plans.is_ours(case, body)),
        state=plans.observed(case, choice.backup),
        chosen_at=now(),
    )
    case.save("backup", record)
    plans.must_hold_what_was_seen(case, record)
    plans.note(case, choice, record)
    return choice.backup


def _choose_for_incident(case: Case, api: Api) -> Backup:
    """The plan is made later, when it is compared with what is there."""
    chosen = incident_backups.choose(case, api)
    case.save("backup", chosen.record)
    plans.must_hold_what_was_seen(case, chosen.record)
    case.save("choice", chosen.choice)
    return chosen.choice.backup


@step
def prove_coverage(case: Case) -> tuple[Coverage, ...]:
    """The files of every PVC are in the chosen backup, or the site says that they are lost knowingly. Reads only.

    Raises:
        Refused: (drill) they are not.
    """
    record = case.load("backup", BackupRecord)
    found = plans.coverage(case, record)
    bad = [c for c in found if c.problem is not None]
    if bad:
        problem = f"backup {record.backup.name} does not hold {len(bad)} of {len(found)} PVCs: " + ", ".join(
            f"{c.claim} ({c.problem})" for c in bad
        )
        hint = "back them up while a running pod mounts them, or name them in not_backed_up of the application"
        if case.is_drill:
            raise Refused(problem, hint)
        case.finding("coverage", case.application.name, Severity.RED, problem, hint)
    plans.name_uncompared(case, found)
    return found


def safety_backup(case: Case) -> Backup:
    """A fresh backup of everything, kept for three days: part of the net of a drill.

    Changes: one Backup.

    Raises:
        Refused: it did not complete, or a PVC is not in it.
        Unavailable: it did not end within the phase.
    """
    spec: dict[str, Json] = {
        "includedNamespaces": list(case.application.namespaces),
        "defaultVolumesToFsBackup": True,
        "storageLocation": case.cluster.storage_location,
        "ttl": KEPT,
    }
    with case.connect() as api:
        labels, within = {backups.SAFETY: "true"}, case.within("prepare")
        taken = velero_server.take_backup(case, api, case.name("safety"), spec, labels=labels, within=within)
    found = backups.coverage(taken, plans.live_claims(case), case.application.not_backed_up)
    if bad := [f"{c.claim} ({c.problem})" for c in found if c.problem is not None]:
        raise Refused(
            f"the safety backup {taken.name} does not hold {', '.join(bad)}",
            "a drill without a net is not done; is every PVC mounted by a running pod?",
        )
    return taken


# -- restore ----------------------------------------------------------------------------------------------------------


@step
def restore(case: Case) -> Restored:
    """The namespaces are restored from the planned backup, by one Restore; clients stay out where there is a gate.

    In an incident what the plan says: as a whole, by as many attempts as it needs, or only what is missing.

    Changes: one ConfigMap (the gate) and one Restore, and all that it brings back; or the missing objects.

    Raises:
        Refused: a bound volume is in use; nothing was changed.
        NotRecovered: the namespace is still being deleted, or the Restore failed or did not end in time.
    """
    if not case.is_drill:
        return _as_planned(case)
    record = case.load("backup", BackupRecord)
    namespace, name = case.cluster.velero_namespace, case.name("restore")
    with case.connect() as api:
        if made.find(api, restores.RESTORE, name, namespace) is None:
            for one in case.application.namespaces:
                namespaces.must_be_free(case, api, one)
        done = restores.run(case, api, name, _spec(case, api, record.backup.name), within=case.within("restore"))
    return _judged(case, done, record.backup)


def _as_planned(case: Case) -> Restored:
    """Namespaces first, since pieces of another one may need them; the account of the restore is what counts."""
    done: list[Restored] = []
    with case.connect() as api:
        if wanted := incident_plans.restored_namespaces(case):
            done.append(attempts.restore(case, api, wanted))
        backup = case.load("backup", BackupRecord).backup
        in_part = [one for one in incident_plans.diagnoses(case) if one.way is Way.PIECES]
        done += [pieces.bring_back(case, api, one) for one in in_part]
    by_object = tuple(label for one in done for label in one.by_object)
    return _judged(case, done[0].model_copy(update={"by_object": by_object}), backup)


def _judged(case: Case, done: Restored, planned: Backup) -> Restored:
    case.checks([_is_of_planned(done, planned)])
    if done.phase != "Completed":
        case.finding(
            "restore",
            case.application.name,
            Severity.YELLOW,
            f"Restore {done.name} ended in {done.phase}, {done.errors} errors: {restores.saved_errors(case)}",
            "see restore-results.json and restore.log in the evidence; the comparison says what is missing",
        )
    return done


def _spec(case: Case, api: Api, backup: str) -> dict[str, Json]:
    spec: dict[str, Json] = {"backupName": backup, "includedNamespaces": list(case.application.namespaces)}
    modifier = gate.modifier(case, api)
    return {**spec, "resourceModifier": {"kind": "configmap", "name": modifier}} if modifier else spec


def _is_of_planned(done: Restored, planned: Backup) -> Check:
    return Check(
        name="backup of the restore",
        expected=planned.name,
        observed=done.backup,
        status=CheckStatus.PASSED if done.backup == planned.name else CheckStatus.FAILED,
    )


def save_results(case: Case) -> None:
    """Velero's own account of the Restore is among the evidence; asked for when nobody waits any more.

    Raises:
        Unavailable: Velero or its bucket does not answer.
    """
    with case.connect() as api:
        name = attempts.latest(case, api)
        if made.find(api, restores.RESTORE, name, case.cluster.velero_namespace) is not None:
            restores.save_results(case, api, name)


def restore_objects(case: Case, backup: str) -> Restored:
    """The objects of *backup* are back, without volumes and pods: controllers make new pods, on the claims there are.

    Restored pods would have the backup's files written over the volumes they mount (measured).

    Raises:
        NotRecovered: the Restore failed or did not end in time.
    """
    spec: dict[str, Json] = {
        "backupName": backup,
        "includedNamespaces": list(case.application.namespaces),
        "excludedResources": ["pods", "persistentvolumeclaims", "persistentvolumes"],
    }
    with case.connect() as api:
        return restores.run(case, api, case.name("net"), spec, within=case.document.budget("restore"))
