"""Old volumes outlive the claims that are lost, so that what was written since the backup can be looked for later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbooks.model import Json, Model
from runbooks.records import Severity
from tasks import incident_plans
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Missing, Object
from tasks.steps import step

VOLUME = ("v1", "PersistentVolume")


class Kept(Model):
    name: str
    uid: str
    claim: str

    @property
    def told(self) -> str:
        return f"PersistentVolume {self.name} (was {self.claim})"


def of(api: Api, namespaces: Sequence[str]) -> Iterator[Object]:
    """The volumes that belong, or belonged, to a claim in one of *namespaces*, and are not going already."""
    for volume in api.list(*VOLUME):
        claim = volume["spec"].get("claimRef") or {}
        if claim.get("namespace") in namespaces and "deletionTimestamp" not in volume["metadata"]:
            yield volume


def named(volume: Object) -> Kept:
    claim, meta = volume["spec"]["claimRef"], volume["metadata"]
    return Kept(name=meta["name"], uid=meta["uid"], claim=f"{claim['namespace']}/{claim['name']}")


@step
def retain(case: Case) -> tuple[Kept, ...]:
    """Every volume of a namespace that will be restored is kept, whatever becomes of its claim; the report says where.

    Changes: the reclaim policy of these volumes to Retain.
    """
    with case.connect() as api:
        found = list(of(api, incident_plans.restored_namespaces(case)))
        for volume in found:
            _retain(case, api, volume)
    kept = tuple(named(volume) for volume in found)
    if kept:
        told = [one.told for one in kept]
        case.note("application", name=case.application.name, kept=list[Json](told))
        case.finding(
            "old volumes kept",
            case.application.name,
            Severity.YELLOW,
            f"{len(kept)} old volumes are kept: {', '.join(told)}",
            "they may hold what was written since the backup; delete them by hand when nothing in them is needed",
        )
    return kept


def _retain(case: Case, api: Api, volume: Object) -> None:
    """Of exactly this volume: the API refuses the patch when the name belongs to another one by now."""
    one, policy = named(volume), volume["spec"]["persistentVolumeReclaimPolicy"]
    if policy == "Retain":
        return
    target: dict[str, Json] = {"kind": "PersistentVolume", "name": one.name, "uid": one.uid, "from": policy}
    case.write(f"keep volume {one.name}", **target)
    operations: list[Object] = [
        {"op": "test", "path": "/metadata/uid", "value": one.uid},
        {"op": "replace", "path": "/spec/persistentVolumeReclaimPolicy", "value": "Retain"},
    ]
    try:
        api.json_patch(*VOLUME, one.name, operations)
    except Missing:
        case.note("unknown", what=f"what was on volume {one.name}: it was deleted before it could be kept")
