"""The plan of a recovery: the chosen backup, what it holds and what it does not."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from runbooks import compare
from runbooks.compare import Comparison
from runbooks.errors import Refused
from runbooks.model import Instant, Json, Model, now, rfc3339, spell
from runbooks.records import Backup, BackupState, Impact, KubeObject, Severity, State
from tasks import backups, observer
from tasks.backups import Choice, Coverage, Wanted
from tasks.cases import Case
from tasks.clients.kubernetes import Object
from tasks.waits import NotYet, wait_until

STATE_WITHIN = timedelta(seconds=30)
JUST_NOW = timedelta(minutes=1)


class BackupRecord(Model):
    """What is known of the chosen backup; stored as backup.json. `state` is what the observer saw meanwhile."""

    backup: Backup
    objects: tuple[KubeObject, ...]
    state: BackupState | None
    chosen_at: Instant | None = None

    def summary(self) -> dict[str, Json]:
        """As the report shows it, with its age when it was chosen."""
        at, done = self.chosen_at, self.backup.completed_at
        return {
            "kind": "velero",
            "name": self.backup.name,
            "completed_at": rfc3339(done) if done else None,
            "age_seconds": (at - done).total_seconds() if at and done else None,
        }


def wanted(case: Case) -> Wanted:
    return Wanted(
        namespaces=case.application.namespaces,
        location=case.cluster.storage_location,
        before=case.clock_of("fault") or case.request.fault_at,
        valid_until=now() + case.objectives.rto,
        drill=case.is_drill,
    )


def planned(case: Case) -> str | None:
    """The plan is made once: an attempt that was killed after it keeps to it, whatever is newest by now."""
    for entry in case.journal.of("plan"):
        return str(entry.data["backup"])
    return case.request.backup


def is_ours(case: Case, body: Object) -> bool:
    """A backup may hold the whole cluster."""
    if body["kind"] == "Namespace":
        return body["metadata"]["name"] in case.application.namespaces
    if body["kind"] == "PersistentVolume":
        return (body["spec"].get("claimRef") or {}).get("namespace") in case.application.namespaces
    return body["metadata"].get("namespace") in case.application.namespaces


def observed(case: Case, backup: Backup) -> BackupState | None:
    """What the observer recorded while exactly this backup was taken."""
    path = observer.directory(case.site, case.run_id) / "backups" / f"{backup.name}.json"

    def look() -> BackupState | NotYet:
        if not path.exists():
            return NotYet("the observer has not recorded it")
        state = BackupState.model_validate_json(path.read_text())
        return state if state.uid == backup.uid else NotYet(f"recorded of another backup, {state.uid}")

    files = case.application.files
    if not (case.is_drill and case.impact is Impact.REAL and files):
        found = look()
        return None if isinstance(found, NotYet) else found
    just_ended = backup.completed_at is not None and now() - backup.completed_at < JUST_NOW
    state = wait_until(
        look,
        within=STATE_WITHIN if just_ended else timedelta(),
        what=f"the manifest of the files in backup {backup.name}",
        otherwise=Refused,
        hint="without it nobody can tell whether the files came back: does dr observe run? the next backup has one",
    )
    if missing := {f.store for f in files} - {m.store for m in state.started} & {m.store for m in state.ended}:
        raise Refused(
            f"the observer recorded backup {backup.name} without {', '.join(sorted(missing))}",
            "was this store added to the site file since? the next backup will have it",
        )
    return state


def held(record: BackupRecord, namespace: str) -> Comparison | None:
    """What the backup holds of a namespace against what the observer saw meanwhile; None when nobody recorded that.

    Velero's Completed says nothing about it: a CustomResourceDefinition that came or went is enough to lose objects.
    """
    seen = record.state.objects(namespace) if record.state else None
    if seen is None:
        return None
    mine = [o for o in record.objects if _namespace_of(o) == namespace]
    return compare.held(seen[0].objects, seen[1].objects, mine)


def must_hold_what_was_seen(case: Case, record: BackupRecord) -> None:
    """A backup that lacks objects is a red finding. Raises: Refused: (drill) and a drill is not begun with it."""
    found = [(n, held(record, n)) for n in case.application.namespaces]
    lacking = [f"{n}: {d.where} (seen {d.expected}, held {d.observed})" for n, c in found if c for d in c.differences]
    if not lacking:
        return
    problem = f"backup {record.backup.name} does not hold what the observer saw while it was taken: {lacking[0]}"
    problem += f" and {len(lacking) - 1} more" if lacking[1:] else ""
    hint = f"see its log for what Velero left out: velero backup logs {record.backup.name}; take another one"
    if case.is_drill:
        raise Refused(problem, hint)
    case.finding("backup complete", case.application.name, Severity.RED, problem, hint)


def _namespace_of(thing: KubeObject) -> str | None:
    if thing.kind == "Namespace":
        return thing.name
    metadata = thing.body["metadata"]
    return str(metadata.get("namespace")) if isinstance(metadata, dict) else None


def note(case: Case, choice: Choice, record: BackupRecord, **more: Json) -> None:
    """The plan is in the journal, once; *more* is what an incident's has besides."""
    if any(True for _ in case.journal.of("plan")):
        return
    backup = choice.backup
    bound = now() - backup.started_at if backup.started_at else None
    case.note(
        "plan",
        backup=backup.name,
        why=choice.why,
        age_seconds=record.summary()["age_seconds"],
        bound_seconds=bound.total_seconds() if bound else None,
        coverage=[c.model_dump(mode="json") for c in coverage(case, record)],
        rejected=[r.model_dump(mode="json") for r in choice.rejected],
        **more,
    )
    if bound is not None and bound > case.objectives.rpo:
        old = spell(timedelta(seconds=round(bound.total_seconds())))
        case.finding(
            "backup age",
            case.application.name,
            Severity.RED,
            f"the newest usable backup, {backup.name}, is {old} old; the RPO is {spell(case.objectives.rpo)}",
            "does the schedule run as often as the objective asks? velero schedule get; dr objectives",
        )


def coverage(case: Case, record: BackupRecord) -> tuple[Coverage, ...]:
    """Of the claims that are there now and of those in the backup."""
    claims = {**dict.fromkeys(live_claims(case)), **_claims(record.objects)}
    return backups.coverage(record.backup, claims, case.application.not_backed_up)


def live_claims(case: Case) -> dict[str, str]:
    """The PVCs of the state before, with their phase."""
    return _claims(o for s in case.load("before", State).namespaces for o in s.objects)


def _claims(objects: Iterable[KubeObject]) -> dict[str, str]:
    return {_claim(o): _phase(o) for o in objects if o.kind == "PersistentVolumeClaim"}


def _claim(thing: KubeObject) -> str:
    metadata = thing.body["metadata"]
    return f"{metadata['namespace'] if isinstance(metadata, dict) else ''}/{thing.name}"


def _phase(thing: KubeObject) -> str:
    """Its phase in the backup, "Bound" when it says none."""
    status = thing.body.get("status")
    return str(status.get("phase", "Bound")) if isinstance(status, dict) else "Bound"


def name_uncompared(case: Case, covered: tuple[Coverage, ...]) -> None:
    listed = {f"{f.namespace}/{f.claim}" for f in case.application.files}
    for one in covered:
        if one.claim not in listed and one.how == "volume backup Completed":
            case.finding(
                "volume not compared",
                one.claim,
                Severity.YELLOW,
                f"the files of PVC {one.claim} are restored, but nobody compares them",
                "name it under applications.files of the site file",
            )
