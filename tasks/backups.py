"""Rules about Velero's backups that need no cluster: which one is usable, what it covers, what was restored from it."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from runbooks.errors import Refused
from runbooks.model import Instant, Json, Model, rfc3339
from runbooks.records import Backup, Check, CheckStatus, KubeObject, VolumeBackup

SAFETY = "dr-runbooks/safety-net"
LONGEST_LABEL = 63
LIMITS = (
    "includedResources", "excludedResources", "labelSelector", "orLabelSelectors",
    "includedNamespaceScopedResources", "excludedNamespaceScopedResources",
)  # fmt: skip
HARMLESS = frozenset({
    "*", "events", "events.events.k8s.io", "leases.coordination.k8s.io", "volumesnapshots.snapshot.storage.k8s.io",
})  # fmt: skip
"""Left out of a backup without a loss; the last one by Velero itself, from every backup."""
Body = Mapping[str, Any]


class Wanted(Model):
    """What a usable backup is: Completed, in `location`, not expired at `valid_until`, started `before` the fault,
    holding all of `namespaces`, and in a drill not a safety backup (in an incident it may be the newest good data).
    """

    namespaces: tuple[str, ...]
    location: str
    before: Instant | None = None
    valid_until: Instant
    drill: bool


class Rejected(Model):
    backup: str
    why: str


class Choice(Model):
    """The backup to restore, why this one, and why none of the others."""

    backup: Backup
    why: str
    rejected: tuple[Rejected, ...]


class Coverage(Model):
    """How one PVC fares: `problem` null when the backup holds its files, or it is knowingly not backed up."""

    claim: str
    how: str
    problem: str | None


def parse_all(
    backups: Iterable[Body], volume_backups: Iterable[Body], *, ahead: timedelta = timedelta()
) -> tuple[Backup, ...]:
    """Each with its volumes, found by the backup's name: a synchronized copy has another UID, but no other name."""
    volumes: dict[str, list[Body]] = {}
    for volume in volume_backups:
        volumes.setdefault((volume["metadata"].get("labels") or {}).get("velero.io/backup-name", ""), []).append(volume)
    return tuple(parse(b, volumes.get(label(b["metadata"]["name"]), ()), ahead=ahead) for b in backups)


def parse(backup: Body, volume_backups: Iterable[Body], *, ahead: timedelta = timedelta()) -> Backup:
    """From Velero's own objects: a Backup and its PodVolumeBackups. Source: velero.io/v1.

    *ahead*: how far the clock that stamped them is ahead of ours.
    """
    meta, spec, status = backup["metadata"], backup["spec"], backup.get("status") or {}
    return Backup(
        name=meta["name"],
        uid=meta["uid"],
        phase=status.get("phase") or "New",
        location=spec.get("storageLocation") or "",
        started_at=_ours(status.get("startTimestamp"), ahead),
        completed_at=_ours(status.get("completionTimestamp"), ahead),
        expires_at=_ours(status.get("expiration"), ahead),
        clock_ahead_seconds=round(ahead.total_seconds(), 1),
        namespaces=tuple(spec.get("includedNamespaces") or ["*"]),
        without_namespaces=tuple(spec.get("excludedNamespaces") or ()),
        limited_by=tuple(name for name in LIMITS if _limits(spec.get(name))),
        is_safety_net=(meta.get("labels") or {}).get(SAFETY) == "true",
        errors=status.get("errors", 0),
        warnings=status.get("warnings", 0),
        volumes=tuple(_volume(v) for v in volume_backups),
    )


def _ours(stamp: str | None, ahead: timedelta) -> datetime | None:
    return datetime.fromisoformat(stamp) - ahead if stamp else None


def _limits(value: Any) -> bool:
    """Does this member of a spec keep objects out? A list names resources; a selector is one by being there."""
    return bool(set(map(str, value)) - HARMLESS) if isinstance(value, list) else bool(value)


def _volume(volume_backup: Body) -> VolumeBackup:
    spec, status = volume_backup["spec"], volume_backup.get("status") or {}
    claim = (volume_backup["metadata"].get("annotations") or {}).get("velero.io/pvc-name", "")
    return VolumeBackup(
        claim=f"{spec['pod']['namespace']}/{claim}",
        phase=status.get("phase") or "New",
        size_bytes=(status.get("progress") or {}).get("totalBytes"),
    )


def choose(backups: Iterable[Backup], wanted: Wanted, *, named: str | None = None) -> Choice:
    """The newest usable one, or the *named* one if it is usable.

    Raises:
        Refused: there is none, with the reason for each.
    """
    oldest_first = sorted(backups, key=lambda b: (b.started_at is not None, b.started_at, b.name))
    judged = [(backup, unusable(backup, wanted)) for backup in reversed(oldest_first)]
    usable = [backup for backup, why in judged if why is None]
    rejected = tuple(Rejected(backup=backup.name, why=why) for backup, why in judged if why is not None)
    if named is not None:
        return _named(named, usable, rejected)
    if not usable:
        raise _none_usable(rejected)
    why = f"the newest of {len(usable)} usable backups" if len(usable) > 1 else "the only usable backup"
    return Choice(backup=usable[0], why=why, rejected=rejected)


def unusable(backup: Backup, wanted: Wanted) -> str | None:
    """The first reason why this backup cannot be taken, or None.

    Velero's server looks neither at the phase nor at the expiry of a backup that a Restore names.
    """
    missing = [n for n in wanted.namespaces if not _holds(backup, n)]
    reasons = (
        (backup.phase != "Completed", backup.phase),
        (backup.location != wanted.location, f"in location {backup.location}, not {wanted.location}"),
        (backup.started_at is None, "without a start time"),
        (_expires(backup, wanted.valid_until), f"expired or about to, at {_at(backup.expires_at)}"),
        (_is_too_late(backup, wanted.before), f"started at {_at(backup.started_at)}, not before the fault"),
        (wanted.drill and backup.is_safety_net, "the safety backup of a drill"),
        (bool(missing), f"without namespace {', '.join(missing)}"),
        (bool(backup.limited_by), f"limited by {', '.join(backup.limited_by)}"),
    )
    return next((why for holds, why in reasons if holds), None)


def _holds(backup: Backup, namespace: str) -> bool:
    def within(patterns: Iterable[str]) -> bool:
        return any(fnmatch.fnmatchcase(namespace, p) for p in patterns)

    return within(backup.namespaces) and not within(backup.without_namespaces)


def _expires(backup: Backup, valid_until: datetime) -> bool:
    return backup.expires_at is not None and backup.expires_at <= valid_until


def _is_too_late(backup: Backup, before: datetime | None) -> bool:
    return before is not None and backup.started_at is not None and backup.started_at >= before


def _at(at: datetime | None) -> str:
    return rfc3339(at) if at else "an unknown time"


def _named(name: str, usable: Iterable[Backup], rejected: Sequence[Rejected]) -> Choice:
    for backup in usable:
        if backup.name == name:
            return Choice(backup=backup, why="named by the request", rejected=tuple(rejected))
    for other in rejected:
        if other.backup == name:
            hint = "leave it out, and the newest usable one is taken"
            raise Refused(f"backup {name} is not usable: {other.why}", hint)
    raise Refused(f"there is no backup {name}", "is it misspelt, or not synchronized yet? velero backup get")


def _none_usable(rejected: Sequence[Rejected]) -> Refused:
    if not rejected:
        return Refused(
            "there is no backup at all", "does the schedule run, and is the location synchronized? velero schedule get"
        )
    named = ", ".join(f"{r.backup} ({r.why})" for r in rejected)
    return Refused(
        f"{len(rejected)} backups, none usable: {named}",
        "why did they fail? velero backup describe NAME; then take one: velero backup create --from-schedule NAME",
    )


def coverage(backup: Backup, claims: Mapping[str, str | None], not_backed_up: Iterable[str]) -> tuple[Coverage, ...]:
    """For each claim (namespace/name, with its phase when the backup was taken) whether its files are in the backup.

    A claim that was Pending then is not, though backup and restore both say Completed (measured).
    """
    phases = {v.claim: v.phase for v in sorted(backup.volumes, key=lambda v: v.phase == "Completed")}
    excepted = set(not_backed_up)
    return tuple(_covered(c, phases.get(c), claims[c], excepted) for c in sorted(claims))


def _covered(claim: str, volume: str | None, phase: str | None, excepted: set[str]) -> Coverage:
    if volume == "Completed":
        return Coverage(claim=claim, how="volume backup Completed", problem=None)
    if excepted & {claim, claim.partition("/")[2]}:
        return Coverage(claim=claim, how="not backed up, knowingly", problem=None)
    if volume is not None:
        problem = f"its volume backup is {volume}"
    elif phase == "Pending":
        problem = "it was Pending when the backup was taken"
    else:
        problem = "no running pod mounted it when the backup was taken" if phase else "it is not in the backup"
    return Coverage(claim=claim, how="not in the backup", problem=problem)


def restored_from(objects: Iterable[KubeObject], *, backup: str, restore: str) -> Check:
    """Every object that a restore brought back names this restore and this backup, and at least one does."""
    labels = [_labels(o) for o in objects]
    marked = [found for found in labels if "velero.io/restore-name" in found]
    wanted = (label(restore), label(backup))
    others = {(m["velero.io/restore-name"], m.get("velero.io/backup-name")) for m in marked} - {wanted}
    observed = "; ".join(sorted(f"restore {r} of backup {b}" for r, b in others))
    return Check(
        name="restored from the planned backup",
        expected=f"restore {restore} of backup {backup}",
        observed=observed or (f"as planned, on {len(marked)} objects" if marked else "no object names a restore"),
        status=CheckStatus.PASSED if marked and not others else CheckStatus.FAILED,
    )


def _labels(thing: KubeObject) -> Mapping[str, Json]:
    metadata = thing.body.get("metadata")
    found = metadata.get("labels") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


def label(name: str) -> str:
    """A name as Velero writes it into a label. Source: velero pkg/label GetValidName."""
    if len(name) <= LONGEST_LABEL:
        return name
    return name[: LONGEST_LABEL - 6] + hashlib.sha256(name.encode()).hexdigest()[:6]


_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def go_duration(text: str) -> timedelta:
    """Go's spelling, such as 72h0m0s or 1m30s."""
    return timedelta(seconds=sum(float(n) * _SECONDS[unit] for n, unit in _parts(text)))


def _parts(text: str) -> Iterator[tuple[str, str]]:
    return ((found[1], found[2]) for found in _PART.finditer(text))
