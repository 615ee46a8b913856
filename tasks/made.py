"""Objects that a run makes are named after it and labelled with it, so that a resumed run finds what it began."""

from __future__ import annotations

from runbooks.errors import RecoveryError, Refused, Unavailable
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Exists, Missing, Object

RUN = "dr-runbooks/run"


def ensure(case: Case, api: Api, kind: tuple[str, str], namespace: str, body: Object) -> Object:
    """The object as this run made it, now or in an earlier attempt. It is sent once.

    Raises:
        Refused: there is one of this name that this run did not make.
        Unavailable: there was no answer, and it is not there.
    """
    name = body["metadata"]["name"]
    found = find(api, kind, name, namespace)
    if found is None:
        found = _create(case, api, kind, namespace, body)
    if (found["metadata"].get("labels") or {}).get(RUN) != case.run_id:
        raise Refused(
            f"{kind[1]} {namespace}/{name} exists, and run {case.run_id} did not make it",
            "who did? rename or delete it, or start a new run",
        )
    return found


def _create(case: Case, api: Api, kind: tuple[str, str], namespace: str, body: Object) -> Object:
    name = body["metadata"]["name"]
    case.write(f"create {kind[1]} {namespace}/{name}", kind=kind[1], namespace=namespace, name=name)
    try:
        return api.create(*kind, body, namespace=namespace)
    except (Exists, Unavailable) as error:
        return _after_all(api, kind, name, namespace, error)


def _after_all(api: Api, kind: tuple[str, str], name: str, namespace: str, error: RecoveryError) -> Object:
    """The answer was lost: was the object made? Asking is a read; sending it again would be a second write."""
    found = find(api, kind, name, namespace)
    if found is None:
        raise error
    return found


def find(api: Api, kind: tuple[str, str], name: str, namespace: str | None = None) -> Object | None:
    try:
        return api.get(*kind, name, namespace=namespace)
    except Missing:
        return None


def body(case: Case, kind: tuple[str, str], name: str, namespace: str, **members: object) -> Object:
    """The object that `ensure` makes."""
    metadata = {"name": name, "namespace": namespace, "labels": {RUN: case.run_id}}
    return {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, **members}
