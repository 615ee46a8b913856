"""Incidents on the fake world: ways that are seldom gone, and the answers that a person types."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from typing import Any

import pytest

from tests.drills import test_incident as incidents
from tests.drills.stage import SCENARIO, Stage
from tests.drills.test_incident import INCIDENT, approve, gone, is_back, is_refused, plan_of, waits
from tests.fakes import seed
from tests.zygote import Child

POD = "/api/v1/namespaces/production/pods/toolbox"

# -- one by one -------------------------------------------------------------------------------------------------------


def with_a_pod_of_its_own(drill: Stage) -> None:
    """A pod without a controller is in the backup; by a Restore of pods Velero would write files over live volumes."""
    container = {"name": "box", "image": "lab.local/busybox:1", "command": ["sleep", "9999"]}
    pod = {"metadata": {"name": "toolbox", "labels": {"app": "toolbox"}}, "spec": {"containers": [container]}}
    drill.world.api("POST", POD.rpartition("/")[0], pod)
    drill.world.wait(lambda: drill.world.api("GET", POD)["status"].get("phase") == "Running", "the pod")
    seed.back_up(drill.world, "orders-with-toolbox", drill.site.records)
    incidents.wait_for_samples(drill, 2)  # the fault is told from the last green one
    incidents.delete(drill, POD, incidents.DEPLOYMENT, incidents.SERVICE)


def creates(drill: Stage) -> list[str]:
    """What the runner itself created in the namespace, in order."""
    there = "/namespaces/production/"
    found = [w for w in drill.world.writes() if w.method == "POST" and there in w.path and not w.path.endswith("/exec")]
    return [f"{w.body['kind']}/{w.body['metadata']['name']}" for w in found if w.user == "runner"]


def test_missing_pod_of_its_own(drill: Stage) -> None:
    """Velero is not asked: exactly the missing objects are created from the backup, the Service behind its gate."""
    with_a_pod_of_its_own(drill)
    before = drill.world.api("GET", incidents.CLAIMS)["items"]
    missing = ("create deployments.apps in namespace production", "create services in namespace production")
    is_refused(drill, "bound", incidents.incident(drill, "bound"), *missing, "granted for this incident alone")
    rule = {"apiGroups": ["", "apps"], "resources": ["pods", "services", "deployments"], "verbs": ["get", "create"]}
    incidents.grant(drill, rule)
    report = is_back(drill, "pieces", incidents.incident(drill, "pieces"))
    assert plan_of(drill, "pieces")["creates"] == ["Deployment/orders", "Pod/toolbox", "Service/orders"]
    assert creates(drill) == ["Service/orders", "Deployment/orders", "Pod/toolbox"]
    assert incidents.restores(drill) == []
    closed = next(w.body for w in drill.world.writes() if w.method == "POST" and w.path.endswith("/services"))
    assert closed["spec"]["selector"] == {"app": "orders", "dr-runbooks/gate": "closed"}
    assert "clusterIP" not in closed["spec"]
    assert drill.world.api("GET", incidents.SERVICE)["spec"]["selector"] == {"app": "orders"}
    assert [c["metadata"]["uid"] for c in drill.world.api("GET", incidents.CLAIMS)["items"]] == [
        c["metadata"]["uid"] for c in before
    ]
    assert report.plan["backup"] == "orders-with-toolbox"


@pytest.mark.parametrize("after_work", [False, True], ids=["before it is done", "done, unanswered"])
def test_killed_among_them(drill: Stage, after_work: bool) -> None:
    """What is there by then is left, the rest follows: nothing is created twice."""
    with_a_pod_of_its_own(drill)
    rule = {"apiGroups": ["", "apps"], "resources": ["pods", "services", "deployments"], "verbs": ["get", "create"]}
    incidents.grant(drill, rule)
    fault = drill.world.fault("hang", method="POST", path="/deployments$", after_work=after_work, user="runner")
    child = incidents.incident(drill, "killed")
    drill.world.wait_until_held(fault, 30)
    child.kill()
    child.wait()
    drill.world.release()
    is_back(drill, "killed", drill.resume("killed"))
    assert drill.world.repeated_writes() == []


# -- controllers ------------------------------------------------------------------------------------------------------


def make(drill: Stage, where: str, name: str, spec: dict[str, Any], **more: Any) -> None:
    _, _, group, version, _, namespace, _ = where.split("/")
    kinds = {incidents.ARGO: "Application", incidents.FLUX: "Kustomization", incidents.HELM: "HelmRelease"}
    body = {"apiVersion": f"{group}/{version}", "kind": kinds[where], "spec": spec, **more}
    drill.world.api("POST", where, {**body, "metadata": {"name": name, "namespace": namespace}})


def test_controllers_that_do_not_say_so_plainly(drill: Stage) -> None:
    """A Kustomization is known by what it has applied; one that is paused is named and left, one of another cluster
    or for another namespace is none of ours."""
    inventory = {"inventory": {"entries": [{"id": "production_orders_apps_Deployment", "v": "v1"}]}}
    make(drill, incidents.FLUX, "by-inventory", {"interval": "1m"}, status=inventory)
    make(drill, incidents.HELM, "paused", {"targetNamespace": "production", "suspend": True})
    there, off = {"namespace": "production"}, {"automated": {"enabled": False}}
    make(drill, incidents.ARGO, "by-hand", {"destination": there, "syncPolicy": {}})
    make(drill, incidents.ARGO, "switched-off", {"destination": there, "syncPolicy": off})
    elsewhere = {**there, "server": "https://other.example:6443"}
    make(drill, incidents.ARGO, "other-cluster", {"destination": elsewhere, "syncPolicy": incidents.AUTOMATED})
    gone(drill)
    child = incidents.incident(drill, "quiet")
    is_refused(drill, "quiet", child, "in the way: Kustomization dr-runbooks/by-inventory", "--consent pause-gitops")
    for name in ("HelmRelease dr-runbooks/paused", "Application dr-runbooks/by-hand",
                 "Application dr-runbooks/switched-off"):  # fmt: skip
        assert f"in the way: {name} (paused)" in child.output
    assert "other-cluster" not in child.output
    assert [one["name"] for one in plan_of(drill, "quiet")["pauses"]] == ["by-inventory"]


# -- at the terminal --------------------------------------------------------------------------------------------------


class Terminal:
    """What a person sits at: a pseudo-terminal; the questions appear where the run writes its log."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        self.path = os.ttyname(self._slave)

    def types(self, drill: Stage, child: Child, question: str, line: str) -> None:
        drill.world.wait(lambda: question in child.output.replace("\n", " "), f"the question {question!r}", 40)
        os.write(self._master, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def asked(drill: Stage, terminal: Terminal, run_id: str) -> Child:
    incidents.asks(drill)
    gone(drill)
    child = drill.dr("run", SCENARIO, "--site", "lab", "--run-id", run_id, *INCIDENT, terminal=terminal.path)
    drill.wait_for(run_id, child, waits)
    return child


def test_approved_at_the_terminal(drill: Stage, terminal: Terminal) -> None:
    """The plan stands above the question; what makes no sense is asked again; the expected loss is taken by Enter."""
    child = asked(drill, terminal, "typed")
    terminal.types(drill, child, 'Type "yes" to carry it out', "perhaps")
    terminal.types(drill, child, "one of: yes, no", "yes")
    assert "namespace production is gone: restore" in child.output
    terminal.types(drill, child, "Who are you?:", "mallory")
    terminal.types(drill, child, "one of: alice", "alice")
    terminal.types(drill, child, "Why?:", "it is gone")
    assert incidents.changes(drill) == []
    terminal.types(drill, child, "Which loss do you accept?", "")
    report = is_back(drill, "typed", child)
    assert [(a.who, a.why) for a in report.approvals] == [("alice", "it is gone")]
    assert report.approvals[0].loss


def test_no_at_the_terminal(drill: Stage, terminal: Terminal) -> None:
    """No is no."""
    child = asked(drill, terminal, "no")
    for question, line in (("carry it out", "no"), ("Who are you?:", "alice"), ("Why?:", "not today"), ("Which", "")):
        terminal.types(drill, child, question, line)
    is_refused(drill, "no", child, "alice said no: not today")


def test_approved_elsewhere_while_the_terminal_waits(drill: Stage, terminal: Terminal) -> None:
    """Nobody has to press a key for it to go on."""
    child = asked(drill, terminal, "elsewhere")
    terminal.types(drill, child, "carry it out", "yes")
    assert approve(drill, "elsewhere").wait() == 0
    is_back(drill, "elsewhere", child)
