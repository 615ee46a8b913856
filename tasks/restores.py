"""A Restore of Velero: made once, followed to any end, its results and log kept as evidence."""

from __future__ import annotations

import time
from datetime import timedelta

from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from runbooks.model import Instant, Json, Model
from runbooks.records import State
from tasks import downloads, made, readiness, velero_server, volume_restores
from tasks.cases import Case, save
from tasks.clients.kubernetes import Api, Object
from tasks.waits import NotYet

RESTORE = ("velero.io/v1", "Restore")
NEVER_BEGUN = "FailedValidation"
"""It has no results: Velero answers no question for them."""
LOST = ("Failed", NEVER_BEGUN)
LOOKS_EVERY = timedelta(seconds=20)
"""While it follows a Restore: is Velero at work?"""
BLOCKED_AFTER_LOOKS = 3
"""A place that is free is taken within seconds."""


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
    ended = _followed(case, api, name, within)
    outcome = _outcome(ended)
    if outcome.phase not in ("Completed", NEVER_BEGUN):
        _try_to_save(case, api, name)
    if outcome.phase in LOST:
        raise NotRecovered(
            f"Restore {name} ended in {outcome.phase}: {velero_server.reason(ended)}",
            "what it brought back may run on empty volumes: delete the namespace before it is restored again",
        )
    return outcome


def _followed(case: Case, api: Api, name: str, within: timedelta) -> Object:
    """Velero waits without a word for what is not at work; what that is is said here, and mended where it can be."""
    namespace, end, watched = case.cluster.velero_namespace, time.monotonic() + within.total_seconds(), _Watched(name)
    while True:
        left = timedelta(seconds=max(end - time.monotonic(), 1))
        try:
            return velero_server.follow(api, RESTORE, name, namespace, within=min(left, LOOKS_EVERY), limit=within)
        except Refused as error:
            raise NotRecovered(error.problem, error.hint) from error
        except Unavailable as error:
            watched.look(case, api)
            if time.monotonic() >= end:
                why = watched.why or _not_ready(case, api)
                raise NotRecovered(error.problem + (f"; {why}" if why else ""), error.hint) from error


def _not_ready(case: Case, api: Api) -> str | None:
    """Velero waits for the pods whose volumes it fills."""
    seen = readiness.look(api, case.application, case.load("before", State).namespaces)
    return seen.seen if isinstance(seen, NotYet) else None


class _Watched:
    """What a Restore that does not end waits for, as far as one can see that from outside."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.why: str | None = None
        self.looks_blocked = 0

    def look(self, case: Case, api: Api) -> None:
        why = velero_server.trouble(api, case.cluster) or self._blocked(case, api)
        if why is not None and why != self.why:
            case.event(f"Restore {self.name} runs and waits: {why}")
        self.why = why

    def _blocked(self, case: Case, api: Api) -> str | None:
        try:
            held = volume_restores.blocked(api, self.name, case.cluster.velero_namespace)
        except RecoveryError:
            return None  # seen at the next look
        self.looks_blocked = self.looks_blocked + 1 if held else 0
        if self.looks_blocked < BLOCKED_AFTER_LOOKS:
            return None
        if not case.is_drill:
            volume_restores.restart_agents(case, api, held, "waits for a place though nothing has it")
        return (
            f"{', '.join(map(volume_restores.told, held))} wait for a place at their node agent, though nothing has it"
        )


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
