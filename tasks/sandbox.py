"""A drill that harms nobody: the namespaces are restored beside the original, looked at, and removed.

Everything that it makes is named after the run and known by UID; nothing else is ever removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta

from runbooks import sandbox, sandbox_application
from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.model import Json, Model
from runbooks.records import Check, CheckStatus, KubeObject
from tasks import backups, made, namespaces, restores
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Conflict, Exists, Missing, Object
from tasks.made import RUN
from tasks.namespaces import CLAIM, NAMESPACE
from tasks.plans import BackupRecord
from tasks.restores import Restored
from tasks.steps import step
from tasks.waits import NotYet, wait_until

LABEL = "dr-runbooks/sandbox-of"
VOLUME = ("v1", "PersistentVolume")
POD = ("v1", "Pod")
CONFIG_MAP = ("v1", "ConfigMap")
VOLUME_RESTORE = ("velero.io/v1", "PodVolumeRestore")
GONE_WITHIN = timedelta(minutes=5)
PRIVILEGED: dict[str, Json] = {"pod-security.kubernetes.io/enforce": "privileged"}
"""Taking a pod's network away needs NET_ADMIN in it."""


class Made(Model):
    """The sandbox's namespaces by the original's, and their UIDs."""

    names: dict[str, str]
    uids: dict[str, str]


def names(case: Case) -> dict[str, str]:
    """Namespace of the original → of the sandbox."""
    first = case.name("sandbox")
    return {n: first if at == 0 else f"{first}-{at + 1}" for at, n in enumerate(case.application.namespaces)}


def image(case: Case) -> str:
    """Raises: Refused: the site does not say what holds the pods of a sandbox."""
    wanted = case.application.drills.sandbox
    if wanted is None:
        raise Refused(
            f"site {case.site.name} names no image for sandboxes of {case.application.name}",
            'say in its file which one holds the restored pods: applications.drills.sandbox = { image = "…" }',
        )
    return wanted.image


def was_begun(case: Case) -> bool:
    """Did this run begin to make a sandbox?"""
    return any(e.step == "sandbox.make" for e in case.journal.of("intent"))


@step
def clear_leftovers(case: Case) -> list[str]:
    """No sandbox that an earlier run left of this application is there, nor its volumes. Whose run it was is dead:
    this run holds the application's lock.

    Changes: deletes namespaces labelled as a sandbox of the application, by UID, and their volumes.

    Raises:
        NotRecovered: one was still there after 5 min.
    """
    image(case)
    cleared, where = [], case.cluster.velero_namespace
    with case.connect() as api:
        for found in api.list(*NAMESPACE, selector=f"{LABEL}={case.application.name}"):
            of_run = found["metadata"]["labels"].get(RUN)
            if of_run != case.run_id and found["metadata"]["name"] not in case.application.namespaces:
                case.event(f"run {of_run} left its sandbox {found['metadata']['name']}: it is removed")
                _remove(case, api, found["metadata"]["name"], namespaces.uid(found))
                _remove_changes(case, api, str(of_run))
                cleared.append(found["metadata"]["name"])
        for changes in api.list(*CONFIG_MAP, namespace=where, selector=f"{LABEL}={case.application.name}"):
            if (of_run := changes["metadata"]["labels"].get(RUN)) != case.run_id:
                _remove_changes(case, api, str(of_run))  # of a run that died when its namespace was gone already
    return cleared


@step
def make(case: Case) -> Made:
    """An empty namespace for each of the application's is there, made by this run.

    Changes: one Namespace each.

    Raises:
        Refused: a pod of the backup could not be restored without harm, or the name is taken; nothing was restored.
    """
    objects = case.load("backup", BackupRecord).objects
    _must_be_harmless(objects)
    sandbox_application.must_be_startable(case.application, objects)
    with case.connect() as api:
        uids = {name: _made(case, api, name) for name in names(case).values()}
    made_now = Made(names=names(case), uids=uids)
    case.note("application", name=case.application.name, way=_way(case), target={"sandbox": dict[str, Json](uids)})
    return made_now


def _way(case: Case) -> str:
    return "restored beside the original as " + ", ".join(names(case).values())


def _must_be_harmless(objects: Iterable[KubeObject]) -> None:
    for thing in objects:
        if thing.kind == "Pod" and (why := sandbox.obstacle(thing)) is not None:
            raise Refused(
                f"pod {thing.name} of the backup cannot be restored beside the original: {why}",
                "such an application can only be drilled with --impact real, or in a cluster of its own",
            )


def _made(case: Case, api: Api, name: str) -> str:
    labels: dict[str, Json] = {RUN: case.run_id, LABEL: case.application.name, **PRIVILEGED}
    found = namespaces.present(api, name)
    if found is None:
        case.write(f"create namespace {name} for the sandbox", kind="Namespace", name=name)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        try:
            found = api.create(*NAMESPACE, body)
        except (Exists, Unavailable):
            found = namespaces.present(api, name)
            if found is None:
                raise
    if (found["metadata"].get("labels") or {}).get(RUN) != case.run_id or namespaces.is_going(found):
        raise Refused(
            f"namespace {name} exists, and run {case.run_id} did not make it, or it is being deleted",
            "who made it? start a new run with another id",
        )
    return namespaces.uid(found)


def of(case: Case) -> Made:
    """Raises: Refused: this run made no sandbox."""
    recorded = case.recorded("sandbox.make")
    if recorded is None:
        raise Refused("this run has made no sandbox", "it ended before it")
    return Made.model_validate(recorded["evidence"])


@step
def restore(case: Case) -> Restored:
    """The namespaces are restored into the sandbox from the planned backup, each object changed as `runbooks.sandbox`
    says: nothing is scaled up, each pod only holds its volumes, with its network down.

    Changes: one ConfigMap (Velero's resource modifiers) and one Restore, and all that it brings into the sandbox.

    Raises:
        Refused: the sandbox is not the one that this run made; nothing was restored.
        NotRecovered: the Restore failed or did not end in time.
    """
    record, where = case.load("backup", BackupRecord), case.cluster.velero_namespace
    with case.connect() as api:
        must_be_ours(case, api)
        changes = sandbox.rules(record.objects, image(case), case.run_id)
        name = case.name("sandbox")
        data = {"rules.yaml": json.dumps(changes)}
        body = made.body(case, CONFIG_MAP, name, where, data=data)
        body["metadata"]["labels"] |= {LABEL: case.application.name}
        made.ensure(case, api, CONFIG_MAP, where, body)
        done = restores.run(case, api, case.name("restore"), _spec(case, record), within=case.within("restore"))
        volumes = _volume_restores(api, where, done.name)
    case.checks([_completed(done), _hydrated(volumes)])
    return done


def _spec(case: Case, record: BackupRecord) -> dict[str, Json]:
    """Without any volume of the cluster: a restored one would lead to the original's storage."""
    return {
        "backupName": record.backup.name,
        "includedNamespaces": list(case.application.namespaces),
        "namespaceMapping": dict[str, Json](names(case)),
        "includedResources": list(sandbox.KINDS.values()),
        "includeClusterResources": False,
        "resourceModifier": {"kind": "configmap", "name": case.name("sandbox")},
    }


def must_be_ours(case: Case, api: Api) -> None:
    """Raises: Refused: a namespace of the sandbox is gone, or another one has taken its name."""
    made_then = of(case)
    for name, uid in made_then.uids.items():
        found = namespaces.present(api, name)
        if found is None or namespaces.uid(found) != uid or namespaces.is_going(found):
            raise Refused(
                f"namespace {name} is not {uid}, which this run made for its sandbox",
                "did another run clear it away? start a new run",
            )


def _volume_restores(api: Api, where: str, restore_name: str) -> list[Object]:
    selector = f"velero.io/restore-name={backups.label(restore_name)}"
    return api.list(*VOLUME_RESTORE, namespace=where, selector=selector)


def _completed(done: Restored) -> Check:
    return Check(
        name="restore into the sandbox",
        expected="Completed, 0 errors",
        observed=f"{done.phase}, {done.errors} errors",
        status=CheckStatus.PASSED if done.phase == "Completed" and not done.errors else CheckStatus.FAILED,
    )


def _hydrated(volumes: list[Object]) -> Check:
    phases = [str(v.get("status", {}).get("phase")) for v in volumes]
    bad = sorted({p for p in phases if p != "Completed"})
    return Check(
        name="volumes filled by Velero",
        expected="all Completed, at least one",
        observed=f"{len(phases)} volumes" + (f", some {', '.join(bad)}" if bad else ", all Completed"),
        status=CheckStatus.PASSED if phases and not bad else CheckStatus.FAILED,
    )


@step
def wait_until_hydrated(case: Case) -> None:
    """Each restored pod holds its volumes, and runs nothing but Velero's wait and our shell (clock `restored`).

    Raises:
        NotRecovered: a pod did not get so far in time.
    """
    with case.connect() as api:
        pods = wait_until(
            lambda: _holding(case, api),
            within=case.within("restore"),
            what="the pods of the sandbox hold their volumes",
            otherwise=NotRecovered,
            hint=f"kubectl -n {case.name('sandbox')} describe pods; can each node pull {image(case)}?",
        )
    strange = [f"{p['metadata']['name']}: {n}" for p in pods for n in sandbox.strangers(p)]
    case.checks(
        [
            Check(
                name="processes of the application in the sandbox",
                expected="none",
                observed=", ".join(strange) or f"none, in {len(pods)} pods",
                status=CheckStatus.FAILED if strange else CheckStatus.PASSED,
            )
        ]
    )
    case.clock("restored")


def pods(case: Case, api: Api) -> list[Object]:
    """The restored pods, in every namespace of the sandbox."""
    selector = f"{sandbox.POD}={case.run_id}"
    return [p for name in names(case).values() for p in api.list(*POD, namespace=name, selector=selector)]


def _holding(case: Case, api: Api) -> list[Object] | NotYet:
    found = pods(case, api)
    late = [
        f"{p['metadata']['name']} {p['status'].get('phase')}" for p in found if p["status"].get("phase") != "Running"
    ]
    return NotYet(f"{len(late)} of {len(found)} not running: {', '.join(late[:3])}") if late else found


# -- clean up -------------------------------------------------------------------------------------------------------


def remove(case: Case) -> None:
    """The sandbox of this run is gone with its volumes, and the original is as it was.

    Changes: deletes the namespaces that this run made, their volumes, and the ConfigMap of the changes.

    Raises:
        NotRecovered: something of it is still there.
    """
    with case.connect() as api:
        for name in names(case).values():
            found = namespaces.present(api, name)
            if found is not None and (found["metadata"].get("labels") or {}).get(RUN) == case.run_id:
                _remove(case, api, name, namespaces.uid(found))
        _remove_changes(case, api, case.run_id)


def _remove(case: Case, api: Api, name: str, uid: str) -> None:
    """One namespace of a sandbox, and the volumes that were bound in it, each by its UID."""
    volumes = _volumes(api, name)
    found = namespaces.present(api, name)
    if found is not None and namespaces.uid(found) == uid and not namespaces.is_going(found):
        case.write(f"delete namespace {name} of a sandbox", kind="Namespace", name=name, uid=uid)
        _delete(api, NAMESPACE, name, uid)
    other = namespaces.wait_until_gone(api, name, uid, within=GONE_WITHIN)
    if other is not None:
        raise NotRecovered(f"somebody made namespace {name} again", "it is not ours any more: look who did")
    for volume, volume_uid in volumes.items():
        _remove_volume(case, api, volume, volume_uid)


def _volumes(api: Api, namespace: str) -> dict[str, str]:
    """Bound to a claim of exactly this namespace: name → UID."""
    claims = {c["metadata"]["uid"] for c in api.list(*CLAIM, namespace=namespace)}
    found = [v for v in api.list(*VOLUME) if (v["spec"].get("claimRef") or {}).get("namespace") == namespace]
    return {
        v["metadata"]["name"]: v["metadata"]["uid"]
        for v in found
        if v["spec"]["claimRef"].get("uid") in claims or v["status"].get("phase") == "Released"
    }


def _remove_volume(case: Case, api: Api, name: str, uid: str) -> None:
    """Its provisioner removes it where the policy says so; one that is to be kept is removed by us."""

    def look() -> bool | NotYet:
        found = made.find(api, VOLUME, name)
        if found is None or found["metadata"]["uid"] != uid:
            return True
        if found["spec"]["persistentVolumeReclaimPolicy"] != "Delete" and "deletionTimestamp" not in found["metadata"]:
            case.write(f"delete volume {name} of a sandbox", kind="PersistentVolume", name=name, uid=uid)
            _delete(api, VOLUME, name, uid)
        return NotYet(f"it is {found['status'].get('phase')}")

    wait_until(
        look,
        within=GONE_WITHIN,
        what=f"volume {name} of the sandbox gone",
        otherwise=NotRecovered,
        hint=f"does its provisioner work? kubectl describe persistentvolume {name}",
    )


def _remove_changes(case: Case, api: Api, run_id: str) -> None:
    where, name = case.cluster.velero_namespace, f"sandbox-{run_id}"
    found = made.find(api, CONFIG_MAP, name, where)
    if found is not None and (found["metadata"].get("labels") or {}).get(RUN) == run_id:
        uid = found["metadata"]["uid"]
        case.write(f"delete ConfigMap {where}/{name}", kind="ConfigMap", namespace=where, name=name, uid=uid)
        _delete(api, CONFIG_MAP, name, uid, namespace=where)


def _delete(api: Api, kind: tuple[str, str], name: str, uid: str, *, namespace: str | None = None) -> None:
    """Sent once; when no answer came, whoever waits for its end sees whether it was heard."""
    try:
        api.delete(*kind, name, uid=uid, namespace=namespace)
    except (Missing, Conflict, Unavailable):
        return
