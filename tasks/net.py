"""The net of a real drill: a fresh safety backup, and the old volumes kept.

It must not share every fault with what is tested: were the volume data in the object store bad, a safety backup there
would be bad, too. So the net takes only the objects from the safety backup and the data from the old volumes.
"""

from __future__ import annotations

from typing import Any

from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.model import Json, Model
from runbooks.records import Severity, State
from tasks import cluster_state, disasters, gate, velero
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Missing
from tasks.steps import step
from tasks.waits import NotYet, wait_until

VOLUME = ("v1", "PersistentVolume")
CLAIM = ("v1", "PersistentVolumeClaim")


class Volume(Model):
    """An old volume, and what must be undone on it."""

    name: str
    uid: str
    claim: str
    claim_uid: str
    namespace: str
    policy: str


class Net(Model):
    safety_backup: str
    volumes: tuple[Volume, ...]


@step
def cast(case: Case) -> Net:
    """A safety backup is complete, and every volume of the application outlives its claim.

    Changes: one Backup; the reclaim policy of the application's volumes.

    Raises:
        Refused: the safety backup did not complete, or a volume is not bound.
    """
    with case.connect() as api:
        volumes = tuple(v for n in case.application.namespaces for v in _volumes(api, n))
        known = _earlier(case)
        volumes = tuple(v.model_copy(update={"policy": known.get(v.uid, v.policy)}) for v in volumes)
        case.note("application", name=case.application.name, kept=[_kept(v) for v in volumes])
        # First the backup: Velero gives restored volumes the policy that the old ones had in it (measured).
        backup = velero.safety_backup(case)
        for volume in volumes:
            _set_policy(case, api, volume, "Retain")
    return Net(safety_backup=backup.name, volumes=volumes)


def _earlier(case: Case) -> dict[str, str]:
    """The policies that a killed attempt found before it changed them."""
    return {
        str(e.data["target"]["uid"]): str(e.data["target"]["from"])  # type: ignore[index,call-overload]
        for e in reversed(list(case.journal.of("write")))
        if e.step == "net.cast" and "from" in e.data["target"]  # type: ignore[operator]
    }


def _volumes(api: Api, namespace: str) -> list[Volume]:
    found = []
    for claim in api.list(*CLAIM, namespace=namespace):
        name = claim["spec"].get("volumeName")
        if claim["status"].get("phase") != "Bound" or not name:
            raise Refused(
                f"PVC {namespace}/{claim['metadata']['name']} is {claim['status'].get('phase')}, not Bound",
                "a drill needs the application in good order",
            )
        volume = api.get(*VOLUME, name)
        found.append(
            Volume(
                name=name,
                uid=volume["metadata"]["uid"],
                claim=claim["metadata"]["name"],
                claim_uid=claim["metadata"]["uid"],
                namespace=namespace,
                policy=volume["spec"]["persistentVolumeReclaimPolicy"],
            )
        )
    return found


def _kept(volume: Volume) -> str:
    return f"PersistentVolume {volume.name} (was {volume.namespace}/{volume.claim})"


def _set_policy(case: Case, api: Api, volume: Volume, policy: str) -> None:
    """Of exactly this volume: the API refuses the patch when the name belongs to another one by now."""
    now = api.get(*VOLUME, volume.name)["spec"]["persistentVolumeReclaimPolicy"]
    if now == policy:
        return
    target: dict[str, Json] = {"kind": "PersistentVolume", "name": volume.name, "uid": volume.uid, "from": now}
    case.write(f"keep volume {volume.name}" if policy == "Retain" else f"policy {policy} for {volume.name}", **target)
    api.json_patch(
        *VOLUME,
        volume.name,
        [
            {"op": "test", "path": "/metadata/uid", "value": volume.uid},
            {"op": "replace", "path": "/spec/persistentVolumeReclaimPolicy", "value": policy},
        ],
    )


def use(case: Case, why: str) -> None:
    """Plan A failed: bring the application back from the net. The drill is not passed, the service is back.

    Changes: deletes what plan A left of the namespaces (set aside by UID), binds the old volumes to new claims,
    restores the objects from the safety backup.

    Raises:
        Refused: the net was never cast, or the namespace there now is the original.
        NotRecovered: the net did not hold: the report lists where everything is.
    """
    recorded = case.recorded("net.cast")
    if recorded is None:
        raise Refused("the net was not cast", "nothing was broken, or the run ended before it")
    net = Net.model_validate(recorded["evidence"])
    case.note("net", why=why)
    for namespace in case.application.namespaces:
        disasters.set_aside(case, namespace)
    with case.connect() as api:
        for namespace in case.application.namespaces:
            _create_namespace(case, api, namespace)
        for volume in net.volumes:
            _bind(case, api, volume)
    done = velero.restore_objects(case, net.safety_backup)
    if done.phase != "Completed":
        case.finding(
            "net complete",
            case.application.name,
            Severity.RED,
            f"Restore {done.name} of the net ended in {done.phase} with {done.errors} errors: not all objects are back",
            f"velero restore describe {done.name} --details; create by hand what is missing",
        )
    cluster_state.wait_for_workloads(case, within=case.document.budget("restore"))
    gate.open_all(case)


def _create_namespace(case: Case, api: Api, namespace: str) -> None:
    before = next(s for s in case.load("before", State).namespaces if s.namespace == namespace)
    labels = next((_labels(o.body) for o in before.objects if o.kind == "Namespace"), {})
    case.write(f"create namespace {namespace} for the net", kind="Namespace", name=namespace)
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    api.create("v1", "Namespace", body)


def _labels(body: dict[str, Any]) -> dict[str, Any]:
    found = dict(body["metadata"].get("labels", {}))
    found.pop("kubernetes.io/metadata.name", None)
    return found


def _bind(case: Case, api: Api, volume: Volume) -> None:
    """A new claim of the old name, bound to the old volume."""
    before = next(s for s in case.load("before", State).namespaces if s.namespace == volume.namespace)
    old = next(o.body for o in before.objects if o.kind == "PersistentVolumeClaim" and o.name == volume.claim)
    spec: dict[str, Any] = {**old["spec"], "volumeName": volume.name}  # type: ignore[dict-item]
    metadata = {"name": volume.claim, "namespace": volume.namespace, "labels": _labels(old)}
    case.write(f"bind volume {volume.name} to a new claim {volume.claim}", kind="PersistentVolume", name=volume.name)
    api.json_patch(
        *VOLUME,
        volume.name,
        [
            {"op": "test", "path": "/metadata/uid", "value": volume.uid},
            {"op": "remove", "path": "/spec/claimRef"},
        ],
    )
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
    api.create(*CLAIM, body, namespace=volume.namespace)

    def look() -> bool | NotYet:
        phase = api.get(*CLAIM, volume.claim, namespace=volume.namespace)["status"].get("phase")
        return True if phase == "Bound" else NotYet(f"PVC {volume.claim} is {phase}")

    wait_until(
        look,
        within=case.within("clean_up"),
        what=f"PVC {volume.claim} bound to the old volume {volume.name}",
        otherwise=NotRecovered,
        hint=f"the old data is in PersistentVolume {volume.name}; see kubectl describe pvc {volume.claim}",
    )


def put_away(case: Case, *, recovered: bool) -> None:
    """Old volumes that nobody needs any more are given back to their own reclaim policy; others stay and are named."""
    recorded = case.recorded("net.cast")
    if recorded is None:
        _undo_half_cast(case)
        return
    net = Net.model_validate(recorded["evidence"])
    kept = []
    with case.connect() as api:
        for volume in net.volumes:
            if recovered or _is_in_use(api, volume):
                _give_back(case, api, volume)
            else:
                kept.append(_kept(volume))
    case.note("application", name=case.application.name, kept=list[Json](kept))
    if kept:
        case.finding(
            "old volumes kept",
            case.application.name,
            Severity.YELLOW,
            f"{len(kept)} old volumes are kept, since the recovery was not proven: {', '.join(kept)}",
            "delete them by hand when nothing in them is needed any more",
        )


def _undo_half_cast(case: Case) -> None:
    """The run ended while the net was being cast: what it changed on the volumes is changed back."""
    earlier = _earlier(case)
    if not earlier:
        return
    with case.connect() as api:
        for namespace in case.application.namespaces:
            for volume in _volumes(api, namespace):
                if volume.uid in earlier:
                    _set_policy(case, api, volume, earlier[volume.uid])


def _is_in_use(api: Api, volume: Volume) -> bool:
    try:
        return bool(api.get(*VOLUME, volume.name)["status"].get("phase") == "Bound")
    except Missing:
        return False


def _give_back(case: Case, api: Api, volume: Volume) -> None:
    try:
        _set_policy(case, api, volume, volume.policy)
    except Missing:
        raise Unavailable(
            f"volume {volume.name} is gone, though it was to be kept", "was it deleted by hand?"
        ) from None
