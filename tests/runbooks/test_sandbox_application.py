"""The pod in which an application is tried on its copy: what it may, and when it is not made at all."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runbooks import sandbox_pods as pods
from runbooks import site
from runbooks.errors import Refused
from runbooks.records import KubeObject
from runbooks.sandbox_application import (
    ASK,
    CUT,
    PROBE,
    PROBE_COMMAND,
    Scratch,
    must_be_startable,
    obstacle,
    pod_spec,
    workload,
)

SCRATCH = Scratch("db.example", "10.0.0.9", 5432)
ORDERS = site.load("production").application("orders")
CONTAINER: dict[str, Any] = {
    "name": "orders", "image": "orders:1", "env": [{"name": "A", "value": "b"}],
    "livenessProbe": {"httpGet": {"path": "/"}}, "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    "securityContext": {"runAsUser": 1000, "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["MKNOD"]}},
}  # fmt: skip
TEMPLATE: dict[str, Any] = {
    "containers": [CONTAINER], "initContainers": [{"name": "migrate", "image": "orders:1"}],
    "priorityClassName": "high", "nodeSelector": {"disk": "fast"},
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["mail"]}],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "invoices"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {}}, {"secret": {"name": "s"}}]}}],
}  # fmt: skip


def thing(kind: str, name: str, spec: Mapping[str, Any]) -> KubeObject:
    version = "v1" if kind == "Service" else "apps/v1"
    body: dict[str, Any] = {"metadata": {"name": name, "namespace": "production"}, "spec": dict(spec)}
    return KubeObject(api_version=version, kind=kind, name=name, uid=None, body=body)


def deployment(name: str = "orders", replicas: int = 3, **template: Any) -> KubeObject:
    labels = {"metadata": {"labels": {"app": "orders", "name": name}}, "spec": TEMPLATE | template}
    return thing("Deployment", name, {"replicas": replicas, "template": labels})


SERVICE = thing("Service", "orders", {"selector": {"app": "orders"}})


def spec(**template: Any) -> dict[str, Any]:
    return pod_spec(deployment(**template).body, "busybox", SCRATCH, ["10.0.0.1 5432 production"])


def test_nothing_runs_before_the_cut_and_the_probe() -> None:
    """Not even an init container of the application; only the one that cuts may change the network."""
    made = spec()
    assert [c["name"] for c in made["initContainers"]] == [CUT, PROBE, "migrate"]
    assert [c["name"] for c in made["containers"]] == ["orders", ASK]
    rights = {c["name"]: c["securityContext"]["capabilities"] for c in pods.containers(made)}
    assert [name for name, right in rights.items() if "NET_ADMIN" in right.get("add", [])] == [CUT]
    assert {"NET_ADMIN", "NET_RAW", "MKNOD"} <= set(rights["orders"]["drop"])
    assert rights["orders"]["add"] == ["NET_BIND_SERVICE"]
    assert {c["securityContext"]["allowPrivilegeEscalation"] for c in pods.containers(made)} == {False}


def test_what_is_the_applications_own_stays() -> None:
    """Image, environment, volumes; but no token, no name of another system, no node, and no priority over others."""
    made = spec()
    [orders, _] = made["containers"]
    assert (orders["image"], orders["env"], orders["volumeMounts"]) == (
        "orders:1",
        CONTAINER["env"],
        CONTAINER["volumeMounts"],
    )
    assert orders["securityContext"]["runAsUser"] == 1000
    assert "livenessProbe" not in orders
    assert made["hostAliases"] == [{"ip": "10.0.0.9", "hostnames": ["db.example"]}]
    assert (made["automountServiceAccountToken"], made["restartPolicy"]) == (False, "Never")
    assert made["volumes"][1]["projected"]["sources"] == [{"secret": {"name": "s"}}]
    assert {"priorityClassName", "nodeSelector"} & made.keys() == set()


def test_first_pod_of_a_stateful_set() -> None:
    """Its claims are named as its controller would."""
    own = {"template": {"spec": TEMPLATE}, "volumeClaimTemplates": [{"metadata": {"name": "books"}}]}
    body = thing("StatefulSet", "ledger", own).body
    made = pod_spec(body, "busybox", SCRATCH, [])
    assert {"name": "books", "persistentVolumeClaim": {"claimName": "books-ledger-0"}} in made["volumes"]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ({"hostNetwork": True}, "it shares with its node: hostNetwork"),
        ({"hostPID": True}, "it shares with its node: hostPID"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "volume v is of kind hostPath"),
        ({"volumes": [{"name": "v", "nfs": {"server": "n"}}]}, "volume v is of kind nfs"),
        ({"containers": [{"name": "c", "securityContext": {"privileged": True}}]}, "container c is privileged"),
        (
            {"initContainers": [{"name": "c", "securityContext": {"capabilities": {"add": ["CAP_NET_ADMIN"]}}}]},
            "container c asks for NET_ADMIN",
        ),
    ],
)
def test_workload_that_would_get_out(template: dict[str, Any], why: str) -> None:
    """Refused from the backup already, with its reason; a site that starts nothing does not mind."""
    found = deployment(**template)
    assert str(obstacle(found.body)).startswith(why)
    with pytest.raises(Refused, match="Deployment/orders cannot be started beside the original: ") as refused:
        must_be_startable(ORDERS, [SERVICE, found])
    assert "leave applications.drills.sandbox.database out" in refused.value.hint
    held_only = ORDERS.drills.sandbox and ORDERS.drills.sandbox.model_copy(update={"database": None})
    drills = ORDERS.drills.model_copy(update={"sandbox": held_only})
    must_be_startable(ORDERS.model_copy(update={"drills": drills}), [SERVICE, found])


def test_workload_of_a_service() -> None:
    """The one whose pods the Service selects, and that had pods; a Service without a selector has none."""
    other = thing("Deployment", "a", {"replicas": 1, "template": {"metadata": {"labels": {"app": "shop"}}}})
    idle, busy = deployment("blue", replicas=0), deployment("green")
    assert workload([SERVICE, other, idle, busy], "production", "orders") == busy
    assert workload([SERVICE, other], "production", "orders") is None
    assert workload([thing("Service", "orders", {}), busy], "production", "orders") is None


def test_pod_that_somebody_changed() -> None:
    """A container more, one less, another command: each is named."""
    made = spec()
    assert pods.strangers(made, made) == []
    proxy = {**made, "containers": [*made["containers"], {"name": "proxy", "image": "mesh:1"}]}
    assert pods.strangers(proxy, made) == ["proxy"]
    blunted = {
        **made,
        "initContainers": [{**made["initContainers"][0], "command": ["true"]}, *made["initContainers"][1:]],
    }
    assert pods.strangers(blunted, made) == [CUT]
    assert pods.strangers({**made, "initContainers": made["initContainers"][1:]}, made) == ["another order"]


def ended(name: str, code: int, message: str = "") -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": code, "message": message, "reason": "Error"}}}


RUNS = [{"name": n, "state": {"running": {}}} for n in ("orders", ASK)]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Pending"}, ("Pending", None, None, False)),
        ({"initContainerStatuses": [{"name": CUT, "state": {"waiting": {"reason": "ErrImagePull"}}}]},
         (f"{CUT}: ErrImagePull", None, None, False)),
        ({"initContainerStatuses": [ended(CUT, 0), ended(PROBE, 7, "API server")]},
         (None, f"container {PROBE} ended with 7: API server", "API server", False)),
        ({"initContainerStatuses": [ended(CUT, 0), ended(PROBE, 0, "nothing")], "containerStatuses": RUNS},
         (None, None, "nothing", True)),
        ({"initContainerStatuses": [ended(CUT, 0), ended(PROBE, 0, "nothing")],
          "containerStatuses": [ended("orders", 1, "password hunter2"), RUNS[1]]},
         (None, "container orders ended with 1: Error", "nothing", True)),
        ({"phase": "Failed", "reason": "OutOfcpu", "message": "no room"},
         (None, "pod Failed: OutOfcpu no room", None, False)),
    ],
)  # fmt: skip
def test_what_became_of_the_pod(status: dict[str, Any], expected: tuple[object, ...]) -> None:
    """What it waits for, why it ended, what the probe said, and whether that proves anything."""
    assert (pods.not_yet(status), pods.problem(status), pods.reached(status), pods.is_isolated(status)) == expected


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """What a pod's image has."""
    listed = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        (tmp_path / name).symlink_to("/bin/busybox")
    return tmp_path


def test_probe_where_nothing_was_cut(tools: Path) -> None:
    """On this machine, whose network is as it is: red, and it says what it found. (The cut itself takes rights.)"""
    told = {"PATH": str(tools), "SCRATCH": "127.0.0.1", "PORT": "1", "PLACES": "127.0.0.1 9 production's database"}
    done = subprocess.run([tools / "sh", "-c", PROBE_COMMAND], env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "production's database at 127.0.0.1:9 (nc: can't connect" in done.stdout
