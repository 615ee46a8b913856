"""The files of a restore: which volumes Velero has filled, and what keeps it from filling them.

Velero's node agent fills one volume of a node at a time, each in a pod named like its PodVolumeRestore. A restarted
Velero cancels those of the Restore that it was at. That pod hears of it while it works; one that is still starting
never does: its PodVolumeRestore stays Canceling and keeps the only place of the node, also when it is Canceled after
five minutes and when its pod is deleted. No volume of that node is filled or backed up any more until its node agent is
restarted, which takes seconds, and goes on with what others are at (measured).
Source: Velero 1.18, RestoreMicroService.RunCancelableDataPath, microServiceBRWatcher, PodVolumeRestoreReconciler.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.records import Severity
from tasks import backups, velero_server
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Conflict, Missing, Object
from tasks.waits import NotYet, wait_until

KIND = ("velero.io/v1", "PodVolumeRestore")
TAKE_A_PLACE = (
    KIND, ("velero.io/v1", "PodVolumeBackup"),
    ("velero.io/v2alpha1", "DataUpload"), ("velero.io/v2alpha1", "DataDownload"),
)  # fmt: skip
POD = ("v1", "Pod")
AGENTS = "name=node-agent"
FILLING = ("InProgress", "Canceling")
ENDS_WITHIN = timedelta(seconds=15)
"""Of a cancelled one that heard of it; the node agent looks every 5 s."""


def of(api: Api, restore: str, namespace: str) -> Sequence[Object]:
    return api.list(*KIND, namespace=namespace, selector=f"velero.io/restore-name={backups.label(restore)}")


def lost(api: Api, restore: str, namespace: str) -> list[str]:
    """Volumes whose files did not come back; their pods run on what is there, or on nothing."""
    return sorted(told(one) for one in of(api, restore, namespace) if velero_server.phase(one) != "Completed")


def told(one: Object) -> str:
    return f"{one['spec']['pod']['name']}/{one['spec']['volume']}"


def stop(case: Case, api: Api, restore: str, *, within: timedelta = ENDS_WITHIN) -> None:
    """No cancelled volume of the failed Restore *restore* keeps the place of the next one.

    Changes: restarts the node agent of each node where one does, by deleting its pod by UID.

    Raises:
        NotRecovered: we may not.
    """
    namespace = case.cluster.velero_namespace

    def look() -> list[Object] | NotYet:
        held = [one for one in of(api, restore, namespace) if velero_server.phase(one) in FILLING]
        return NotYet(", ".join(map(told, held))) if held else held

    try:
        wait_until(look, within=within, what=f"volumes of {restore} let go", otherwise=Unavailable, hint="")
    except Unavailable:
        stuck = [one for one in of(api, restore, namespace) if velero_server.phase(one) == "Canceling"]
        restart_agents(case, api, stuck, f"cancelled with {restore}, and never ends")


def blocked(api: Api, restore: str, namespace: str) -> list[Object]:
    """Volumes that could be filled at once, on nodes where none is being filled and none backed up."""
    waiting = [one for one in of(api, restore, namespace) if velero_server.phase(one) == "Prepared"]
    if not waiting:
        return []
    busy = {_node(one) for kind in TAKE_A_PLACE for one in _all(api, kind, namespace)
            if velero_server.phase(one) == "InProgress"}  # fmt: skip
    return [one for one in waiting if _node(one) not in busy]


def _all(api: Api, kind: tuple[str, str], namespace: str) -> Sequence[Object]:
    try:
        return api.list(*kind, namespace=namespace)
    except Missing:
        return ()  # Velero without data movers


def _node(one: Object) -> str:
    return str((one.get("status") or {}).get("node") or (one.get("spec") or {}).get("node") or "")


def restart_agents(case: Case, api: Api, held: Iterable[Object], why: str) -> None:
    """The node agent of each node of *held* began after these did, so it knows nothing of them.

    Raises:
        NotRecovered: we may not.
    """
    since = {_node(one): (told(one), _begun(one)) for one in held}
    pods = api.list(*POD, namespace=case.cluster.velero_namespace, selector=AGENTS) if since else ()
    for pod in pods:
        node = str(pod["spec"].get("nodeName"))
        if node in since and "deletionTimestamp" not in pod["metadata"] and _begun(pod) <= since[node][1]:
            _restart(case, api, pod, f"{since[node][0]} {why}")


def _begun(one: Object) -> datetime:
    return datetime.fromisoformat(one["metadata"]["creationTimestamp"])


def _restart(case: Case, api: Api, pod: Object, why: str) -> None:
    name, namespace, uid = pod["metadata"]["name"], case.cluster.velero_namespace, pod["metadata"]["uid"]
    case.finding(
        "node agent",
        str(pod["spec"].get("nodeName")),
        Severity.YELLOW,
        f"node agent {name} fills no volume any more: {why}; it is restarted",
        "a known fault of Velero 1.18 after its server was restarted: why was it?",
    )
    case.write(f"restart node agent {namespace}/{name}", kind="Pod", namespace=namespace, name=name, uid=uid)
    try:
        api.delete(*POD, name, uid=uid, namespace=namespace)
    except (Missing, Conflict, Unavailable):
        return  # sent once; the next look sees whether it was heard
    except Refused as error:
        raise NotRecovered(
            f"node agent {name} fills no volume any more ({why}), and we may not restart it: {error.problem}",
            f"kubectl -n {namespace} rollout restart daemonset/node-agent, then dr run {case.scenario} --run-id "
            f"{case.run_id}; or bind dr-runbooks-mender",
        ) from error
