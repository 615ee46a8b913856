"""What a workload lacks, and what its pods wait for."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import gate, readiness


def workload(replicas: int | None, *, generation: int = 1, **status: Any) -> dict[str, Any]:
    spec = {} if replicas is None else {"replicas": replicas}
    return {"metadata": {"generation": generation}, "spec": spec, "status": {"observedGeneration": 1, **status}}


@pytest.mark.parametrize(
    ("kind", "found", "lack"),
    [
        ("Deployment", workload(3, availableReplicas=3), None),
        ("Deployment", workload(3, availableReplicas=2, readyReplicas=3), "2 of 3 ready"),
        ("Deployment", workload(3), "0 of 3 ready"),
        ("Deployment", workload(0), None),
        ("Deployment", workload(None), "0 of 1 ready"),
        ("Deployment", workload(3, generation=2, availableReplicas=3), "not seen by its controller yet"),
        ("Deployment", {"metadata": {"generation": 1}, "spec": {}}, "not seen by its controller yet"),
        ("StatefulSet", workload(1, readyReplicas=1), None),
        ("StatefulSet", workload(2, readyReplicas=1), "1 of 2 ready"),
        ("DaemonSet", workload(None, desiredNumberScheduled=2, numberReady=1), "1 of 2 ready"),
        ("DaemonSet", workload(None, desiredNumberScheduled=0), None),
    ],
)
def test_workload(kind: str, found: dict[str, Any], lack: str | None) -> None:
    """Ready means all replicas of the spec that its controller has seen."""
    assert readiness.lacks(kind, found) == lack


def test_waiting_containers() -> None:
    """Init containers count, too: Velero's restore waits in one."""
    pod = {
        "status": {
            "initContainerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}],
            "containerStatuses": [
                {"state": {"waiting": {"reason": "ImagePullBackOff"}}},
                {"state": {"waiting": {"reason": "CrashLoopBackOff"}}},
                {"state": {"running": {}}},
            ],
        }
    }
    assert list(readiness.reasons(pod)) == ["ImagePullBackOff", "CrashLoopBackOff"]


def test_unscheduled_pod() -> None:
    """It says why."""
    said = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient memory"}
    assert list(readiness.reasons({"status": {"conditions": [said]}})) == [said["message"]]


def test_endpoints() -> None:
    """Only those that take traffic; a condition that is left out means yes, slices may be empty."""
    slices: list[dict[str, Any]] = [
        {"endpoints": [{"conditions": {"ready": True}}, {"conditions": {"ready": False}}, {}]},
        {"endpoints": None},
        {},
    ]
    assert gate.ready_endpoints(slices) == 2


def test_gate_rules() -> None:
    """A rule a Service, which fits no other of a similar name."""
    rules = gate.rules([("production", "orders"), ("shop", "web")])
    assert rules == {
        "version": "v1",
        "resourceModifierRules": [
            {
                "conditions": {
                    "groupResource": "services",
                    "resourceNameRegex": f"^{name}$",
                    "namespaces": [namespace],
                },
                "patches": [{"operation": "add", "path": "/spec/selector/dr-runbooks~1gate", "value": "closed"}],
            }
            for namespace, name in (("production", "orders"), ("shop", "web"))
        ],
    }
