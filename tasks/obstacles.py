"""What works against a restore: GitOps controllers that keep the namespace as they want it, and operators.

Argo CD and Flux can be paused by one field of the object that names the namespace; so they are, with consent, and are
set back at the end. An operator cannot be paused from outside: it is named.
Source: Argo CD, automated sync policy; Flux, `suspend` of Kustomization and HelmRelease.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from runbooks.errors import Refused
from runbooks.model import Json, Model
from runbooks.records import KubeObject, Severity
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Missing, Object, Resource
from tasks.steps import step

ARGO, KUSTOMIZE, HELM = "argoproj.io", "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"
CONTROLLERS = {(ARGO, "Application"), (KUSTOMIZE, "Kustomization"), (HELM, "HelmRelease")}
IN_CLUSTER = "https://kubernetes.default.svc"
BUILT_IN = {
    "", "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "discovery.k8s.io", "coordination.k8s.io",
    "rbac.authorization.k8s.io", "storage.k8s.io", "snapshot.storage.k8s.io",
}  # fmt: skip


class Controller(Model):
    """One object by which a GitOps controller works on the application, and where its switch is."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    is_active: bool

    @property
    def label(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def controllers(case: Case, api: Api) -> tuple[Controller, ...]:
    """Those that work on the application's namespaces. Reads only; what cannot be read is named in the report."""
    found = []
    for kind in api.discovered.resources:
        if (kind.group, kind.kind) in CONTROLLERS:
            found += [_controller(kind, body) for body in _listed(case, api, kind) if _is_meant(case, kind, body)]
    return tuple(found)


def _listed(case: Case, api: Api, kind: Resource) -> Sequence[Object]:
    try:
        return api.list(kind.api_version, kind.kind)
    except Refused as error:
        case.note("unknown", what=f"whether a {kind.kind} of {kind.group} works against the restore: {error.problem}")
        return ()


def _is_meant(case: Case, kind: Resource, body: Object) -> bool:
    ours, spec = set(case.application.namespaces), body.get("spec") or {}
    if kind.group == ARGO:
        destination = spec.get("destination") or {}
        return destination.get("namespace") in ours and _is_here(destination)
    if kind.group == KUSTOMIZE and not spec.get("targetNamespace"):
        entries = ((body.get("status") or {}).get("inventory") or {}).get("entries") or ()
        return any(str(entry.get("id", "")).partition("_")[0] in ours for entry in entries)
    return (spec.get("targetNamespace") or body["metadata"].get("namespace")) in ours


def _is_here(destination: Object) -> bool:
    """Argo CD serves other clusters, too; by their address or the name that it gave them."""
    return destination.get("server") in (None, "", IN_CLUSTER) and destination.get("name") in (None, "", "in-cluster")


def _controller(kind: Resource, body: Object) -> Controller:
    meta = body["metadata"]
    return Controller(
        api_version=kind.api_version,
        kind=kind.kind,
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        is_active=_is_active(kind.kind, body),
    )


def _is_active(kind: str, body: Object) -> bool:
    spec = body.get("spec") or {}
    if kind == "Application":
        automated = (spec.get("syncPolicy") or {}).get("automated")
        return automated is not None and automated.get("enabled") is not False
    return not spec.get("suspend")


def operators(objects: Iterable[KubeObject]) -> tuple[str, ...]:
    """Objects of the backup that belong to a custom resource: its operator will make them, too."""
    return tuple(sorted({f"{thing.label}, owned by {owner}" for thing in objects for owner in _owners(thing)}))


def _owners(thing: KubeObject) -> Iterator[str]:
    metadata = thing.body.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    for owner in owners if isinstance(owners, list) else ():
        if isinstance(owner, dict) and _group(str(owner.get("apiVersion", ""))) not in BUILT_IN:
            yield f"{owner.get('kind')}/{owner.get('name')}"


def _group(api_version: str) -> str:
    return api_version.partition("/")[0] if "/" in api_version else ""


@step
def pause(case: Case) -> tuple[str, ...]:
    """The GitOps controllers that the plan names are paused; a person has consented to that.

    Changes: the automated sync policy of an Argo CD Application, `suspend` of Flux's objects.

    Raises:
        Refused: one of them is another object by now.
    """
    wanted = [Controller.model_validate(one) for one in _planned(case)]
    with case.connect() as api:
        for one in wanted:
            _pause(case, api, one)
    return tuple(one.label for one in wanted)


def _planned(case: Case) -> list[Json]:
    for entry in case.journal.of("plan"):
        found = entry.data.get("pauses")
        return found if isinstance(found, list) else []
    return []


def _pause(case: Case, api: Api, one: Controller) -> None:
    try:
        found = api.get(one.api_version, one.kind, one.name, namespace=one.namespace)
    except Missing:
        return
    if found["metadata"]["uid"] != one.uid:
        raise Refused(f"{one.label} is not the planned one any more; it was not paused", "start again: plan anew")
    if not _is_active(one.kind, found):
        return
    path, before, after = _switch(one.kind, found)
    case.write(f"pause {one.label}", **one.model_dump(mode="json"), path=path, was=before)
    _set(api, one, path, after)


def _switch(kind: str, body: Object) -> tuple[str, Json, Json]:
    """Where it is switched, how it is set now, and how it is set when paused. None: absent."""
    spec = body.get("spec") or {}
    if kind == "Application":
        return "/spec/syncPolicy/automated", spec["syncPolicy"]["automated"], None
    return "/spec/suspend", spec.get("suspend"), True


def _set(api: Api, one: Controller, path: str, value: Json) -> None:
    change: Object = {"op": "remove", "path": path} if value is None else {"op": "add", "path": path, "value": value}
    pinned: Object = {"op": "test", "path": "/metadata/uid", "value": one.uid}
    api.json_patch(one.api_version, one.kind, one.name, [pinned, change], namespace=one.namespace)


def resume(case: Case, *, recovered: bool) -> None:
    """What this run paused works again. After a failed recovery it stays paused, and the report says so."""
    paused = list(_paused(case))
    if not paused:
        return
    with case.connect() as api:
        for one, path, was in paused:
            if recovered:
                _resume(case, api, one, path, was)
            else:
                case.finding(
                    "paused controller",
                    one.label,
                    Severity.YELLOW,
                    f"{one.label} is still paused, since the recovery was not proven",
                    f"set {path} back to {was if was is not None else 'absent'} when it may work again",
                )


def _resume(case: Case, api: Api, one: Controller, path: str, was: Json) -> None:
    try:
        found = api.get(one.api_version, one.kind, one.name, namespace=one.namespace)
    except Missing:
        return  # nobody is left to be resumed
    if found["metadata"]["uid"] == one.uid and not _is_active(one.kind, found):
        case.write(f"resume {one.label}", kind=one.kind, namespace=one.namespace, name=one.name, uid=one.uid)
        _set(api, one, path, was)


def _paused(case: Case) -> Iterator[tuple[Controller, str, Json]]:
    """As the journal has it, each once: a killed attempt may have paused it."""
    seen: set[str] = set()
    for entry in case.journal.of("write"):
        target = entry.data["target"]
        if entry.step == "obstacles.pause" and isinstance(target, dict) and str(target["uid"]) not in seen:
            seen.add(str(target["uid"]))
            fields = {name: target[name] for name in Controller.model_fields}
            yield Controller.model_validate(fields), str(target["path"]), target["was"]
