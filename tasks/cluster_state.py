"""What is in the namespaces of an application before and after, and whether it is ready."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from runbooks import kube
from runbooks.errors import NotRecovered, RecoveryError, Refused
from runbooks.model import Json, Model, now
from runbooks.records import FileManifest, RowsState, RunKind, Severity, Snapshot, State
from runbooks.site import Cluster, Files
from tasks import backups, files, incident_plans, readiness, rows, skews
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Missing, Objects, Resource
from tasks.digests import hmac_key, kube_object
from tasks.restores import Restored
from tasks.steps import step
from tasks.waits import wait_until

AT_ONCE = 8
NOISE = {("", "events"), ("events.k8s.io", "events"), ("coordination.k8s.io", "leases")}
"""No recovery brings them back."""
NOISY_GROUPS = {"metrics.k8s.io"}
"""Measurements, not objects."""


class Recorded(Model):
    """How much was recorded; the state itself lies in before.json or after.json."""

    objects: int
    files: int
    tables: int


def snapshot(api: Api, namespace: str, key: bytes) -> Snapshot:
    """Everything listable in a namespace by discovery, and the namespace itself. Reads only.

    A namespace that does not exist has no UID and no objects.

    Raises:
        Unavailable: the API does not answer.
    """
    taken_at = now()
    try:
        own = api.get("v1", "Namespace", namespace)
    except Missing:
        return Snapshot(namespace=namespace, uid=None, taken_at=taken_at, objects=())
    kinds = [r for r in api.discovered.resources if not _is_noise(r)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda kind: _listed(api, kind, namespace), kinds))
    bodies = [own, *(body for group in found if not isinstance(group, str) for body in group)]
    return Snapshot(
        namespace=namespace,
        uid=own["metadata"]["uid"],
        taken_at=taken_at,
        objects=tuple(kube_object(body, key) for body in bodies),
        unlistable=tuple(sorted({*api.discovered.unlistable, *(group for group in found if isinstance(group, str))})),
    )


def _is_noise(kind: Resource) -> bool:
    return kind.group in NOISY_GROUPS or (kind.group, kind.plural) in NOISE


def _listed(api: Api, kind: Resource, namespace: str) -> Objects | str:
    """The objects of a kind, or its name when it cannot be listed."""
    try:
        return api.list_all(kind, namespace)
    except Refused:
        return kind.label


@step
def record_before(case: Case) -> Recorded:
    """The state before anything is broken is in before.json, and what must be recreated is pinned.

    Raises:
        Refused: (drill) a namespace or the files of a volume cannot be read now; nothing was changed.
        Unavailable: the API or a database does not answer.
    """
    key = hmac_key(case)
    with case.connect() as api:
        snapshots = tuple(snapshot(api, n, key) for n in case.application.namespaces)
        if case.is_drill:
            _must_be_there(snapshots)
        manifests = tuple(files.manifest(api, f) for f in case.application.files) if case.is_drill else ()
        volumes = _volumes(api, snapshots)
        skews.note(case, api)
    if case.kind is RunKind.DRILL:
        _name_holders(case, snapshots)
    state = State(
        application=case.application.name,
        taken_at=snapshots[0].taken_at,
        namespaces=snapshots,
        files=manifests,
        rows=_rows_before(case),
    )
    case.save("before", state)
    target = {**_pins(case.cluster, snapshots), "volumes": volumes}
    case.note("application", name=case.application.name, target=target)
    return _recorded(state)


def _rows_before(case: Case) -> tuple[RowsState, ...]:
    """An incident goes on without: the database may be a part of it."""
    try:
        return rows.record(case.site, case.application)
    except RecoveryError as error:
        if case.is_drill:
            raise
        case.note("unknown", what=f"which rows there were before: {error.problem}")
        return ()


def _must_be_there(snapshots: Iterable[Snapshot]) -> None:
    for one in snapshots:
        if one.uid is None:
            raise Refused(
                f"namespace {one.namespace} does not exist", "a drill needs it in good order; is this an incident?"
            )


def _name_holders(case: Case, snapshots: Iterable[Snapshot]) -> None:
    """Before anybody approves: a namespace that cannot go is an outage without a drill."""
    for one in snapshots:
        held = [f"{o.label} ({', '.join(marks)})" for o in one.objects if (marks := kube.finalizers(o.body))]
        if held:
            case.finding(
                "finalizers",
                one.namespace,
                Severity.YELLOW,
                f"namespace {one.namespace} is gone only when others have removed their finalizers: {', '.join(held)}",
                "do their controllers run, and not in this namespace? without them it stays Terminating",
            )


def _volumes(api: Api, snapshots: Iterable[Snapshot]) -> dict[str, Json]:
    """Name and UID of each PersistentVolume behind a claim."""
    claims = (o for s in snapshots for o in s.objects if o.kind == "PersistentVolumeClaim")
    names = {
        str(spec["volumeName"]) for o in claims if isinstance(spec := o.body["spec"], dict) and "volumeName" in spec
    }
    return {name: str(api.get("v1", "PersistentVolume", name)["metadata"]["uid"]) for name in sorted(names)}


def _pins(cluster: Cluster, snapshots: Iterable[Snapshot]) -> dict[str, Json]:
    return {
        "cluster_uid": cluster.uid,
        "namespaces": {s.namespace: s.uid for s in snapshots},
        "claims": {
            f"{s.namespace}/{o.name}": o.uid for s in snapshots for o in s.objects if o.kind == "PersistentVolumeClaim"
        },
    }


def _recorded(state: State) -> Recorded:
    return Recorded(
        objects=sum(len(s.objects) for s in state.namespaces),
        files=sum(len(m.files) for m in state.files),
        tables=sum(len(r.tables) for r in state.rows),
    )


def record_after(case: Case) -> State:
    """The state after, in after.json. What cannot be read is missing in it, and its check is then not run.

    Raises:
        Unavailable: the API does not answer.
    """
    before, key = case.load("before", State), hmac_key(case)
    with case.connect() as api:
        snapshots = tuple(snapshot(api, n, key) for n in case.application.namespaces)
        manifests = [_manifest_or_none(case, api, f) for f in case.application.files]
    state = State(
        application=case.application.name,
        taken_at=now(),
        namespaces=snapshots,
        files=tuple(m for m in manifests if m is not None),
        rows=_rows_or_none(case, before),
    )
    case.save("after", state)
    restored = case.recorded("velero.restore")
    if restored is not None:
        done = Restored.model_validate(restored["evidence"])
        objects = [o for s in snapshots if s.namespace in incident_plans.restored_namespaces(case) for o in s.objects]
        if objects:
            case.checks([backups.restored_from(objects, backup=done.backup, restore=done.name)])
    return state


def _manifest_or_none(case: Case, api: Api, wanted: Files) -> FileManifest | None:
    try:
        return files.manifest(api, wanted)
    except RecoveryError as error:
        case.event(f"files of {wanted.store} could not be read: {error.problem}")
        return None


def _rows_or_none(case: Case, before: State) -> tuple[RowsState, ...]:
    try:
        return rows.record_up_to(case.site, case.application, before.rows)
    except RecoveryError as error:
        case.event(f"rows could not be read: {error.problem}")
        return ()


@step
def wait_until_ready(case: Case) -> None:
    """Every workload is available with its replicas, every PVC is bound: the tools are done (clock `restored`).

    Raises:
        NotRecovered: not within what is left of the phase, with what the pods wait for.
    """
    wait_for_workloads(case, within=case.within("restore"))
    case.clock("restored")


def wait_for_workloads(case: Case, *, within: timedelta) -> None:
    before = case.load("before", State).namespaces
    with case.connect() as api:
        wait_until(
            lambda: readiness.look(api, case.application, before),
            within=within,
            what=f"all workloads of {case.application.name} available",
            otherwise=NotRecovered,
            hint=f"see kubectl -n {case.application.namespaces[0]} get pods,pvc and describe what is not ready",
            pause_seconds=0.1,
        )
