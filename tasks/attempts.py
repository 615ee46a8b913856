"""A restore in an incident: tried again the right way when it failed, from the next backup when the first is bad.

A second Restore on top of a failed one says Completed and stays broken (measured): what the failed one left is set
aside first, and no volume of it is being filled any more. What has been tried is read from Velero, so a killed run goes
on with the attempt that it was in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from runbooks.errors import NotRecovered, RecoveryError
from runbooks.model import Json
from runbooks.records import Severity
from tasks import (
    disasters,
    downloads,
    gate,
    incident_backups,
    made,
    namespaces,
    restores,
    velero_server,
    volume_restores,
)
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Object
from tasks.plans import BackupRecord
from tasks.restores import Restored

TRIES = 2
"""Of one backup: the first may have failed for a reason that is not the backup's, such as a restart of Velero."""
SHARE = 2 / 3
"""Of what is left of the phase: an attempt that hangs leaves time for another."""


class Bad(Exception):
    """An attempt ended, and what it brought back is not to be trusted."""

    def __init__(self, why: str, *, is_of_backup: bool) -> None:
        super().__init__(why)
        self.why = why
        self.is_of_backup = is_of_backup


def restore(case: Case, api: Api, wanted: Sequence[str]) -> Restored:
    """The namespaces *wanted* are restored, by the first attempt that ends well.

    Raises:
        Refused: a bound volume is in use; nothing was changed.
        NotRecovered: an attempt did not end in time, or no backup is left to try.
    """
    earlier = _earlier(case, api)
    number = max(len(earlier), 1)
    backup = str(earlier[-1]["spec"]["backupName"]) if earlier else case.load("backup", BackupRecord).backup.name
    tried = Counter(str(one["spec"]["backupName"]) for one in earlier[:-1])
    while True:
        _record(case, api, backup)
        tried[backup] += 1
        try:
            return _attempt(case, api, number, backup, wanted)
        except Bad as bad:
            _record_failure(case, number, backup, bad)
            volume_restores.stop(case, api, name(case, number))  # also when this was the last: the next backup needs it
            backup = _next(case, api, backup, tried, bad)
        for one in wanted:
            disasters.set_aside(case, one)
        number += 1


def name(case: Case, number: int) -> str:
    """The first is named as in a drill."""
    return case.name("restore") if number == 1 else f"{case.name('restore')}-{number}"


def latest(case: Case, api: Api) -> str:
    """The Restore that this run made last; the first one's name when it made none."""
    return name(case, max(len(_earlier(case, api)), 1))


def _earlier(case: Case, api: Api) -> list[Object]:
    """The Restores that this run has made, in order."""
    found: list[Object] = []
    while (
        one := made.find(api, restores.RESTORE, name(case, len(found) + 1), case.cluster.velero_namespace)
    ) is not None:
        found.append(one)
    return found


def _record(case: Case, api: Api, backup: str) -> None:
    """backup.json is of the backup that is being restored: all that follows compares with it."""
    if case.load("backup", BackupRecord).backup.name != backup:
        found = next(b for b in velero_server.all_backups(api, case.cluster) if b.name == backup)
        case.save("backup", incident_backups.recorded(case, api, found, within=downloads.patience(case)))


def _attempt(case: Case, api: Api, number: int, backup: str, wanted: Sequence[str]) -> Restored:
    this, namespace = name(case, number), case.cluster.velero_namespace
    if made.find(api, restores.RESTORE, this, namespace) is None:
        for one in wanted:
            namespaces.must_be_free(case, api, one)
    within = _within(case)
    try:
        done = restores.run(case, api, this, _spec(case, api, backup, wanted), within=within)
    except NotRecovered as error:
        found = made.find(api, restores.RESTORE, this, namespace)
        if found is None or velero_server.phase(found) not in restores.LOST:
            raise
        raise Bad(error.problem, is_of_backup=velero_server.phase(found) == "FailedValidation") from error
    if done.phase != "Completed" and (lost := volume_restores.lost(api, this, namespace)):
        raise Bad(f"Restore {this} did not bring back the files of {', '.join(lost)}", is_of_backup=True)
    return done


def _within(case: Case) -> timedelta:
    return case.within("restore") * SHARE


def _spec(case: Case, api: Api, backup: str, wanted: Sequence[str]) -> dict[str, Json]:
    spec: dict[str, Json] = {"backupName": backup, "includedNamespaces": list(wanted)}
    modifier = gate.modifier(case, api)
    return {**spec, "resourceModifier": {"kind": "configmap", "name": modifier}} if modifier else spec


def _record_failure(case: Case, number: int, backup: str, bad: Bad) -> None:
    _put_results_aside(case, number)
    case.finding(
        f"restore attempt {number}",
        case.application.name,
        Severity.YELLOW,
        f"attempt {number}, from backup {backup}, failed: {bad.why}",
        f"see restore-results-{number}.json in the evidence; what it left was set aside before the next attempt",
    )


def _next(case: Case, api: Api, backup: str, tried: Counter[str], bad: Bad) -> str:
    """The backup of the next attempt: the same once more, or the next older one.

    Raises:
        NotRecovered: the time is up, or none is left.
    """
    if case.within("restore") <= timedelta(seconds=1):
        raise NotRecovered(f"{bad.why}; the time for the restore is up", _by_hand(case))
    if not bad.is_of_backup and tried[backup] < TRIES:
        return backup
    if case.request.backup is not None:
        raise NotRecovered(f"{bad.why}; the request names this backup and no other", _by_hand(case))
    try:
        chosen = incident_backups.choose(case, api, without=tuple(tried))
    except RecoveryError as error:
        raise NotRecovered(f"{bad.why}; no other backup can be taken: {error.problem}", _by_hand(case)) from error
    case.event(f"next: backup {chosen.choice.backup.name}, {chosen.choice.why}")
    return chosen.choice.backup.name


def _put_results_aside(case: Case, number: int) -> None:
    """Velero's account of this attempt is not taken for that of the next."""
    for kind, end in (("restore-results", "json"), ("restore", "log")):
        path = case.directory / f"{kind}.{end}"
        if path.exists():
            path.rename(path.with_name(f"{kind}-{number}.{end}"))


def _by_hand(case: Case) -> str:
    return (
        "what is there now is not to be trusted: delete the namespace before it is restored from another backup; "
        f"dr runbook {case.scenario} --site {case.request.site}"
    )
