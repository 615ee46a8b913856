"""A node agent of Velero that fills no volume any more, on a fake API: restarted once, and only when it hangs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from runbooks.errors import NotRecovered, Refused
from runbooks.model import now, rfc3339
from runbooks.records import Mode
from tasks import velero_server, volume_restores
from tasks.clients import kubernetes
from tasks.clients.kubernetes import Api
from tests.tasks.test_namespace_steps import VELERO, Place
from tests.tasks.test_namespace_steps import place as place

pytestmark = pytest.mark.slow
PODS = "/api/v1/namespaces/velero/pods"
RESTORE = "restore-test"
SOON = timedelta(seconds=1)


def connected(place: Place) -> Api:
    return kubernetes.connect(place.case().cluster)


def agents(place: Place) -> list[dict[str, Any]]:
    """Metadata and node of its pods, without those that are going."""
    pods = [p["metadata"] | {"node": p["spec"].get("nodeName")} for p in place.world.api("GET", PODS)["items"]]
    return [p for p in pods if p["labels"].get("name") == "node-agent" and "deletionTimestamp" not in p]


def volume(place: Place, name: str, phase: str, node: str | None = None) -> None:
    """As Velero has it while a restore runs."""
    labels = {"velero.io/restore-name": RESTORE}
    spec = {"pod": {"namespace": "production", "name": "orders-1", "kind": "Pod"}, "volume": name}
    status = {"phase": phase, "node": node or agents(place)[0]["node"]}
    place.world.api("POST", f"{VELERO}/podvolumerestores", {"metadata": {"name": name, "labels": labels}, "spec": spec})
    place.world.patch(f"{VELERO}/podvolumerestores/{name}", {"status": status})


def test_cancelled_and_never_ends(place: Place) -> None:
    """Its node agent is deleted by UID and made anew; the new one knows nothing of it, and is left alone."""
    case, old = place.case(), agents(place)[0]
    place.world.wait(lambda: old["creationTimestamp"] < rfc3339(now()), "another second")
    volume(place, "invoices", "Canceling")
    with connected(place) as api:
        volume_restores.stop(case, api, RESTORE, within=SOON)
        place.world.wait(lambda: [a for a in agents(place) if a["uid"] != old["uid"]], "a new node agent")
        volume_restores.stop(case, api, RESTORE, within=SOON)
    deleted = [w for w in place.world.writes() if w.method == "DELETE"]
    assert [w.path for w in deleted] == [f"{PODS}/{old['name']}"]
    assert deleted[0].body["preconditions"] == {"uid": old["uid"]}
    [found] = case.journal.of("finding")
    assert "orders-1/invoices cancelled with restore-test, and never ends" in str(found.data["problem"])


def test_not_hanging(place: Place) -> None:
    """What ended, waits, or works on is no reason to restart anything."""
    for phase in ("Completed", "Failed", "Canceled", "Prepared", "InProgress"):
        volume(place, phase.lower(), phase)
    with connected(place) as api:
        volume_restores.stop(place.case(), api, RESTORE, within=SOON)
    assert [w for w in place.world.writes() if w.method == "DELETE"] == []


def test_right_taken_away(place: Place) -> None:
    """It is not called recovered: what to type is said, and how to go on."""
    volume(place, "invoices", "Canceling")
    place.world.deny("delete", "pods")
    with connected(place) as api, pytest.raises(NotRecovered, match="we may not restart it") as raised:
        volume_restores.stop(place.case(), api, RESTORE, within=SOON)
    assert "rollout restart daemonset/node-agent" in raised.value.hint
    assert "--run-id test" in raised.value.hint


def test_waits_for_a_place(place: Place) -> None:
    """Only where nothing is being filled or backed up on its node."""
    volume(place, "invoices", "Prepared")
    volume(place, "ledger", "Prepared", node="other")
    volume(place, "busy", "InProgress", node="other")
    with connected(place) as api:
        [found] = volume_restores.blocked(api, RESTORE, "velero")
    assert volume_restores.told(found) == "orders-1/invoices"


def test_node_agent_away(place: Place) -> None:
    """A drill is refused, and so is the dry run of an incident, which waits for nothing."""
    case = place.case()
    case.request = case.request.model_copy(update={"mode": Mode.INCIDENT})
    place.world.api("DELETE", "/apis/apps/v1/namespaces/velero/daemonsets/node-agent")
    with connected(place) as api:
        with pytest.raises(Refused, match="DaemonSet node-agent does not exist"):
            velero_server.must_be_at_work(api, case.cluster)
        case.attempt = case.attempt.model_copy(update={"dry_run": True})
        with pytest.raises(Refused, match="DaemonSet node-agent does not exist"):
            velero_server.wait_until_at_work(case, api)
