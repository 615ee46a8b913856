"""Which backup an incident restores: the newest one that really holds the application, and the next when that is bad.

When nobody knows since when it is broken, the newest backup may have been taken of what was already gone: Velero says
Completed of it all the same. So what it holds is looked at before it is chosen.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from runbooks.errors import Refused, Unavailable
from runbooks.kube import key
from runbooks.model import now
from runbooks.records import Backup
from tasks import backups, downloads, plans, velero_server
from tasks.backups import Choice, Rejected
from tasks.cases import Case
from tasks.clients.kubernetes import Api
from tasks.digests import hmac_key, kube_object
from tasks.plans import BackupRecord


@dataclass(frozen=True)
class Chosen:
    choice: Choice
    record: BackupRecord


def choose(case: Case, api: Api, *, without: Collection[str] = ()) -> Chosen:
    """The newest usable backup that holds every volume, else the newest that holds the application at all.

    *without*: those that a restore has shown to be bad. Changes: one DownloadRequest for each that is looked into.

    Raises:
        Refused: none is usable, with the reason for each; or the one that the request names is not.
        Unavailable: the object store hands out nothing.
    """
    named, end = plans.planned(case), time.monotonic() + downloads.patience(case).total_seconds()
    left = [b for b in velero_server.all_backups(api, case.cluster) if b.name not in without]
    passed_over = [Rejected(backup=name, why="a restore of it failed") for name in without]
    second_best: Chosen | None = None
    while True:
        try:
            choice = backups.choose(left, plans.wanted(case), named=None if without else named)
        except Refused as error:
            if second_best is not None:
                return second_best
            raise _none(error, passed_over) from error
        within = timedelta(seconds=max(end - time.monotonic(), 0))  # one store that is away is waited for once
        found = _looked_into(case, api, choice, passed_over, within)
        if isinstance(found, Chosen):
            why = _uncovered(case, found.record)
            if why is None or named is not None:
                return found
            second_best = second_best or found
        else:
            why = found
        passed_over.append(Rejected(backup=choice.backup.name, why=why))
        left = [b for b in left if b.name != choice.backup.name]


def _none(error: Refused, passed_over: list[Rejected]) -> Refused:
    told = "; ".join(f"{one.backup}: {one.why}" for one in passed_over)
    return Refused(error.problem + (f"; {told}" if told else ""), error.hint)


def _looked_into(case: Case, api: Api, choice: Choice, passed_over: list[Rejected], within: timedelta) -> Chosen | str:
    """With what it holds, or why it cannot be taken."""
    try:
        record = recorded(case, api, choice.backup, within=within)
    except Unavailable as error:
        return f"what is in it cannot be read: {error.problem}"
    if (lacks := _lacks(case, record)) is not None:
        return lacks
    return Chosen(choice.model_copy(update={"rejected": (*passed_over, *choice.rejected)}), record)


def recorded(case: Case, api: Api, backup: Backup, *, within: timedelta) -> BackupRecord:
    """What the backup holds of the application, and what the observer saw while it was taken."""
    contents, secret = downloads.fetch(case, api, "BackupContents", backup.name, within=within), hmac_key(case)
    return BackupRecord(
        backup=backup,
        objects=tuple(kube_object(body, secret) for body in downloads.objects(contents) if plans.is_ours(case, body)),
        state=plans.observed(case, backup),
        chosen_at=now(),
    )


def _lacks(case: Case, record: BackupRecord) -> str | None:
    """What the site file names and the backup does not hold: it was taken of something broken."""
    held = {(o.kind, key(o).namespace, o.name) for o in record.objects}
    wanted = [
        *(("Namespace", "", name) for name in case.application.namespaces),
        *(("Service", one.namespace, one.service) for one in case.application.workloads),
        *(("PersistentVolumeClaim", one.namespace, one.claim) for one in case.application.files),
    ]
    missing = [f"{kind} {namespace}/{name}".replace(" /", " ") for kind, namespace, name in wanted
               if (kind, namespace, name) not in held]  # fmt: skip
    return f"without {', '.join(missing)}: taken when it was broken already" if missing else None


def _uncovered(case: Case, record: BackupRecord) -> str | None:
    bad = [f"{c.claim} ({c.problem})" for c in plans.coverage(case, record) if c.problem is not None]
    return f"it does not hold {', '.join(bad)}" if bad else None
