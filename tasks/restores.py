"""A Restore of Velero: made once, followed to any end, its results and log kept as evidence."""

from __future__ import annotations

from datetime import timedelta

from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from runbooks.model import Instant, Json, Model
from tasks import downloads, made, velero_server
from tasks.cases import Case, save
from tasks.clients.kubernetes import Api, Object

RESTORE = ("velero.io/v1", "Restore")
LOST = ("Failed", "FailedValidation")


class Restored(Model):
    """How a Restore ended; its phase alone proves nothing, validation does."""

    name: str
    backup: str
    phase: str
    errors: int
    warnings: int
    started_at: Instant | None
    completed_at: Instant | None
    by_object: tuple[str, ...] = ()
    """What was created one by one from the backup's contents, without a Restore."""


def run(case: Case, api: Api, name: str, spec: dict[str, Json], *, within: timedelta) -> Restored:
    """The Restore *name* has ended; begun now, or by an earlier attempt of this run.

    Raises:
        Refused: the Restore of this name is of another backup, or not ours.
        NotRecovered: it failed, or did not end *within*.
    """
    namespace = case.cluster.velero_namespace
    made_now = made.ensure(case, api, RESTORE, namespace, made.body(case, RESTORE, name, namespace, spec=spec))
    if made_now["spec"].get("backupName") != spec["backupName"]:
        raise Refused(
            f"Restore {name} restores backup {made_now['spec'].get('backupName')}, the plan says {spec['backupName']}",
            "somebody made it by hand under our name; start a new run",
        )
    ended = _followed(api, name, namespace, within)
    outcome = _outcome(ended)
    if outcome.phase != "Completed":
        _try_to_save(case, api, name)
    if outcome.phase in LOST:
        raise NotRecovered(
            f"Restore {name} ended in {outcome.phase}: {velero_server.reason(ended)}",
            "what it brought back may run on empty volumes: delete the namespace before it is restored again",
        )
    return outcome


def _followed(api: Api, name: str, namespace: str, within: timedelta) -> Object:
    try:
        return velero_server.follow(api, RESTORE, name, namespace, within=within)
    except (Refused, Unavailable) as error:
        raise NotRecovered(error.problem, error.hint) from error


def _outcome(ended: Object) -> Restored:
    status = ended["status"]
    return Restored(
        name=ended["metadata"]["name"],
        backup=ended["spec"]["backupName"],
        phase=status["phase"],
        errors=status.get("errors", 0),
        warnings=status.get("warnings", 0),
        started_at=status.get("startTimestamp"),
        completed_at=status.get("completionTimestamp"),
    )


def _try_to_save(case: Case, api: Api, name: str) -> None:
    """The reasons belong to the evidence; that they cannot be had does not change what happened."""
    try:
        save_results(case, api, name)
    except RecoveryError as error:
        case.note("unknown", what=f"results of Restore {name}: {error.problem}")


def save_results(case: Case, api: Api, name: str) -> None:
    """Velero's own account of the Restore is in restore-results.json and restore.log.

    Raises:
        Unavailable: Velero or its bucket does not answer.
    """
    results, log = case.directory / "restore-results.json", case.directory / "restore.log"
    if not results.exists():
        save(results, downloads.fetch(case, api, "RestoreResults", name).decode(errors="replace"))
    if not log.exists():
        save(log, downloads.fetch(case, api, "RestoreLog", name).decode(errors="replace"))


def saved_errors(case: Case) -> str:
    """The first errors in the saved results."""
    path = case.directory / "restore-results.json"
    return downloads.first_errors(path.read_bytes()) if path.exists() else "its results could not be fetched"
