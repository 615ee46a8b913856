"""Velero itself: is it at work, what backups does it have, take one more."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from runbooks.errors import RecoveryError, Refused, Unavailable
from runbooks.model import Json, now, rfc3339, spell
from runbooks.records import Backup, Severity
from runbooks.site import Cluster
from tasks import backups, downloads, made, skews
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Missing, Object
from tasks.waits import NotYet, wait_until

BACKUP = ("velero.io/v1", "Backup")
VOLUME_BACKUP = ("velero.io/v1", "PodVolumeBackup")
LOCATION = ("velero.io/v1", "BackupStorageLocation")
SCHEDULE = ("velero.io/v1", "Schedule")
ENDED = frozenset({"Completed", "PartiallyFailed", "Failed", "FailedValidation"})
VALIDATED_EVERY = "1m0s"
SLACK = timedelta(minutes=1)


def must_be_at_work(api: Api, cluster: Cluster) -> str:
    """Velero and its node agents run, and the storage location was found Available a moment ago. Reads only.

    Returns the image of the server.

    Raises:
        Refused: one of these does not hold.
    """
    image = _server(api, cluster)
    ready, wanted = _agents(api, cluster)
    if not wanted or ready < wanted:
        raise _not_at_work(f"DaemonSet node-agent: {ready} of {wanted} ready", cluster)
    must_be_available(api, cluster)
    return image


def wait_until_at_work(case: Case, api: Api) -> str:
    """The same, for an incident: it is waited for, and agents on some of the nodes are enough to begin. Reads only.

    Returns the image of the server.

    Raises:
        Refused: it was not at work when the time was up; what keeps it from that is named.
    """
    if case.attempt.dry_run:
        return _at_work_somewhere(case, api)
    told: set[str] = set()

    def look() -> str | NotYet:
        try:
            return _at_work_somewhere(case, api)
        except Refused as error:
            if error.problem not in told:
                case.event(f"{error.problem}; waited for, {spell(downloads.PATIENCE)} at most")
            told.add(error.problem)
            return NotYet(error.problem)

    return wait_until(
        look,
        within=min(downloads.PATIENCE, case.within("prepare")),
        what="Velero at work",
        otherwise=Refused,
        hint=f"mend it, then start again; nothing was changed. {_look(case.cluster)}",
    )


def _at_work_somewhere(case: Case, api: Api) -> str:
    image = _server(api, case.cluster)
    ready, wanted = _agents(api, case.cluster)
    if not ready:
        raise _not_at_work(f"DaemonSet node-agent: {ready} of {wanted} ready, so no volume can be filled", case.cluster)
    must_be_available(api, case.cluster)
    if ready < wanted:
        case.finding(
            "node agents",
            case.cluster.velero_namespace,
            Severity.YELLOW,
            f"DaemonSet node-agent: {ready} of {wanted} ready; volumes on the other nodes wait for theirs",
            _look(case.cluster),
        )
    return image


def trouble(api: Api, cluster: Cluster) -> str | None:
    """Why Velero does not get on, if one can see that from outside."""
    try:
        must_be_at_work(api, cluster)
    except RecoveryError as error:
        return error.problem
    return None


def _server(api: Api, cluster: Cluster) -> str:
    server = _found(api, ("apps/v1", "Deployment"), "velero", cluster)
    if not server.get("status", {}).get("availableReplicas"):
        raise _not_at_work("Deployment velero has no available replica", cluster)
    return str(server["spec"]["template"]["spec"]["containers"][0]["image"])


def _agents(api: Api, cluster: Cluster) -> tuple[int, int]:
    """How many are ready, and how many there should be."""
    status = _found(api, ("apps/v1", "DaemonSet"), "node-agent", cluster).get("status", {})
    return status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)


def must_be_available(api: Api, cluster: Cluster) -> None:
    """Raises: Refused: the storage location is not Available, or nobody has looked for a while."""
    name = cluster.storage_location
    found = _found(api, LOCATION, name, cluster)
    status = found.get("status") or {}
    if status.get("phase") != "Available":
        said = f"{status.get('phase', 'never validated')} {status.get('message', '')}".strip()
        raise Refused(
            f"storage location {name} is not Available: {said[:256]}",
            "does the object store answer Velero, and are its keys valid? velero backup-location get",
        )
    every = backups.go_duration(found["spec"].get("validationFrequency") or VALIDATED_EVERY)
    at = status.get("lastValidationTime")
    if every and (at is None or now() + skews.ahead(api) - datetime.fromisoformat(at) > every + SLACK):
        raise Refused(
            f"storage location {name} was last validated at {at}, though Velero should do so every {spell(every)}",
            "it says Available without having looked: does Velero hang?",
        )


def _found(api: Api, kind: tuple[str, str], name: str, cluster: Cluster) -> Object:
    try:
        return api.get(*kind, name, namespace=cluster.velero_namespace)
    except Missing as error:
        raise _not_at_work(f"{kind[1]} {name} does not exist", cluster) from error


def _not_at_work(what: str, cluster: Cluster) -> Refused:
    return Refused(f"Velero is not at work in namespace {cluster.velero_namespace}: {what}", _look(cluster))


def _look(cluster: Cluster) -> str:
    return f"see kubectl -n {cluster.velero_namespace} get pods,backupstoragelocations"


def all_backups(api: Api, cluster: Cluster) -> tuple[Backup, ...]:
    namespace = cluster.velero_namespace
    volumes = api.list(*VOLUME_BACKUP, namespace=namespace)
    return backups.parse_all(api.list(*BACKUP, namespace=namespace), volumes, ahead=skews.ahead(api))


def take_backup(
    case: Case,
    api: Api,
    name: str,
    spec: Mapping[str, Json],
    *,
    labels: Mapping[str, str],
    within: timedelta,
) -> Backup:
    """A backup of this name that has ended in *Completed*, taken by this run now or in an earlier attempt.

    Raises:
        Refused: it ended otherwise.
        Unavailable: it did not end *within*; it runs on.
    """
    namespace = case.cluster.velero_namespace
    body = made.body(case, BACKUP, name, namespace, spec=dict(spec))
    body["metadata"]["labels"] |= labels
    made.ensure(case, api, BACKUP, namespace, body)
    ended = follow(api, BACKUP, name, namespace, within=within)
    volumes = api.list(*VOLUME_BACKUP, namespace=namespace, selector=_of(name))
    backup = backups.parse(ended, volumes, ahead=skews.ahead(api))
    if backup.phase != "Completed":
        raise Refused(
            f"backup {name} ended in {backup.phase}: {_why(case, api, ended)}",
            f"velero backup describe {name} --details; start again when that is mended",
        )
    return backup


def _why(case: Case, api: Api, ended: Object) -> str:
    """By its results; a backup that was never begun has none."""
    if phase(ended) == "FailedValidation":
        return reason(ended)
    try:
        return downloads.first_errors(downloads.fetch(case, api, "BackupResults", ended["metadata"]["name"]))
    except (Unavailable, Refused):
        return reason(ended)


def _of(name: str) -> str:
    return f"velero.io/backup-name={backups.label(name)}"


def follow(
    api: Api,
    kind: tuple[str, str],
    name: str,
    namespace: str,
    *,
    within: timedelta,
    ended: Collection[str] = ENDED,
    limit: timedelta | None = None,
) -> Object:
    """The Backup or Restore once it has ended, well or not. *limit* is what the caller waits in all, if that is more.

    Raises:
        Unavailable: it did not end *within*; it runs on in Velero.
        Refused: it was deleted meanwhile.
    """
    last: Object = {}
    for seen in api.follow(*kind, namespace=namespace, name=name, within=within):
        if name not in seen:
            raise Refused(f"{kind[1]} {name} was deleted while it was followed", "who deletes them? start again")
        last = seen[name]
        if phase(last) in ended:
            return last
    raise Unavailable(
        f"{kind[1]} {name} did not end within {(limit or within).total_seconds():.0f} s; "
        f"at {rfc3339(now())} it was {phase(last)}",
        f"it runs on: velero {kind[1].lower()} describe {name} --details; a phase New means that Velero does not run",
    )


def phase(found: Object) -> str:
    return str((found.get("status") or {}).get("phase") or "New")


def reason(found: Object) -> str:
    """Why it did not end well, as far as its status says."""
    status = found.get("status") or {}
    said = [*status.get("validationErrors", ()), *([status["failureReason"]] if status.get("failureReason") else ())]
    counts = f"{status.get('errors', 0)} errors, {status.get('warnings', 0)} warnings"
    return "; ".join(said)[:256] or counts
