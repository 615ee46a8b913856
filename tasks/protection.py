"""After a recovery the application is protected again: schedules run, the location takes backups, one is there."""

from __future__ import annotations

from runbooks.errors import NotRecovered, RecoveryError
from runbooks.model import Json
from tasks import velero_server
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Missing, Object
from tasks.velero_server import SCHEDULE


def check(case: Case) -> None:
    """Every schedule of the application is active, and a new backup by the most frequent one has completed.

    Changes: one Backup.

    Raises:
        NotRecovered: it is not protected, with everything that is missing.
    """
    with case.connect() as api:
        problems = [p for p in (_trouble(api, case, name) for name in _names(case)) if p is not None]
        try:
            velero_server.must_be_available(api, case.cluster)
            _take_backup(case, api)
        except RecoveryError as error:
            problems.append(error.problem)
    if problems:
        raise NotRecovered(
            f"{case.application.name} is not protected again: {'; '.join(problems)}",
            "until this is mended the next loss may be larger than the RPO: velero schedule get, velero backup get",
        )


def _names(case: Case) -> list[str]:
    """The schedules of Velero, the most frequent first."""
    return [s.name for s in sorted(case.application.schedules, key=lambda s: s.every) if s.kind == "velero"]


def _trouble(api: Api, case: Case, name: str) -> str | None:
    try:
        found = api.get(*SCHEDULE, name, namespace=case.cluster.velero_namespace)
    except Missing:
        return f"schedule {name} does not exist"
    if found["spec"].get("paused"):
        return f"schedule {name} is paused"
    phase = velero_server.phase(found)
    return None if phase == "Enabled" else f"schedule {name} is {phase}"


def _take_backup(case: Case, api: Api) -> None:
    """As the schedule would: with its template and its label, so that it counts as one of its backups."""
    names = _names(case)
    labels = {"velero.io/schedule-name": names[0]} if names else {}
    spec = _template(api.get(*SCHEDULE, names[0], namespace=case.cluster.velero_namespace)) if names else _default(case)
    within = case.within("clean_up")
    velero_server.take_backup(case, api, case.name("after"), spec, labels=labels, within=within)


def _template(schedule: Object) -> dict[str, Json]:
    return dict(schedule["spec"]["template"])


def _default(case: Case) -> dict[str, Json]:
    return {
        "includedNamespaces": list(case.application.namespaces),
        "defaultVolumesToFsBackup": True,
        "storageLocation": case.cluster.storage_location,
    }
