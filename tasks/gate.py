"""The traffic gate: Services come back without pods behind them, and are opened when the data is proven.

A half-restored pod serves empty data (measured). Closed, a Service asks for a label that no pod has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from runbooks.errors import NotRecovered
from runbooks.model import Json
from tasks import made
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Object
from tasks.steps import step
from tasks.waits import NotYet, wait_until

SERVICE = ("v1", "Service")
SLICE = ("discovery.k8s.io/v1", "EndpointSlice")
CONFIG_MAP = ("v1", "ConfigMap")
KEY, CLOSED = "dr-runbooks/gate", "closed"
PATH = "/spec/selector/dr-runbooks~1gate"


def services(case: Case) -> Iterator[tuple[str, str]]:
    """Namespace and name of each gated Service."""
    gated = case.application.gate.services if case.application.gate else ()
    return ((w.namespace, w.service) for w in case.application.workloads if w.service in gated)


def modifier(case: Case, api: Api) -> str | None:
    """The ConfigMap by which a Restore brings the gated Services back closed; None where nothing is gated.

    Changes: one ConfigMap in Velero's namespace.
    """
    gated = list(services(case))
    if not gated:
        return None
    where, name = case.cluster.velero_namespace, case.name("gate")
    data = {"gate.yaml": json.dumps(rules(gated))}
    made.ensure(case, api, CONFIG_MAP, where, made.body(case, CONFIG_MAP, name, where, data=data))
    return name


def rules(gated: list[tuple[str, str]]) -> dict[str, Json]:
    """Velero's resource modifiers, a rule a Service. JSON is YAML, too."""
    close: Json = {"operation": "add", "path": PATH, "value": CLOSED}
    conditions: list[Json] = [
        {"groupResource": "services", "resourceNameRegex": f"^{name}$", "namespaces": [namespace]}
        for namespace, name in gated
    ]
    return {"version": "v1", "resourceModifierRules": [{"conditions": c, "patches": [close]} for c in conditions]}


@step
def open(case: Case) -> None:
    """Clients are let in: each gated Service has its own selector again, and ready endpoints.

    Raises:
        NotRecovered: no pod is ready behind one of them.
    """
    open_all(case)
    with case.connect() as api:
        for namespace, name in services(case):
            wait_until(
                partial(_has_endpoints, api, namespace, name),
                within=case.within("validate"),
                what=f"ready endpoints of Service {namespace}/{name}",
                otherwise=NotRecovered,
                hint=f"which pods fit its selector? kubectl -n {namespace} get endpointslices,pods --show-labels",
                pause_seconds=0.1,
            )


def _has_endpoints(api: Api, namespace: str, name: str) -> int | NotYet:
    ready = ready_endpoints(api.list(*SLICE, namespace=namespace, selector=f"kubernetes.io/service-name={name}"))
    return ready or NotYet("no ready endpoint")


def ready_endpoints(slices: list[Object]) -> int:
    """How many addresses of these EndpointSlices take traffic; `ready` left out means yes."""
    endpoints = [e for s in slices for e in s.get("endpoints") or ()]
    return sum((e.get("conditions") or {}).get("ready") is not False for e in endpoints)


def open_all(case: Case) -> None:
    """No gated Service is closed. Changes: the selectors of those that were."""
    with case.connect() as api:
        for namespace, name in services(case):
            found = api.get(*SERVICE, name, namespace=namespace)
            if KEY in _selector(found):
                operations = [{"op": "test", "path": PATH, "value": CLOSED}, {"op": "remove", "path": PATH}]
                _patch(case, api, found, f"open the gate of Service {namespace}/{name}", operations)


def close(case: Case) -> None:
    """Clients are kept out again: what they got was wrong."""
    with case.connect() as api:
        for namespace, name in services(case):
            found = api.get(*SERVICE, name, namespace=namespace)
            if KEY not in _selector(found):
                operations = [{"op": "add", "path": PATH, "value": CLOSED}]
                _patch(case, api, found, f"close the gate of Service {namespace}/{name}", operations)


def _selector(service: Object) -> Object:
    return service["spec"].get("selector") or {}


def _patch(case: Case, api: Api, service: Object, what: str, operations: list[Object]) -> None:
    """Of exactly this Service: the API refuses it when the name belongs to another one by now."""
    meta = service["metadata"]
    case.write(what, kind="Service", namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
    pinned = [{"op": "test", "path": "/metadata/uid", "value": meta["uid"]}, *operations]
    api.json_patch(*SERVICE, meta["name"], pinned, namespace=meta["namespace"])
