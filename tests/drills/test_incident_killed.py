"""kill -9 in an incident, between a write and its answer, then the same run id: it goes on, and does nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.drills import test_incident as incidents
from tests.drills.stage import Stage


def wrong(drill: Stage) -> None:
    drill.world.patch(incidents.DEPLOYMENT, {"spec": {"replicas": 0}})
    incidents.wait_until_red(drill)


def half_there(drill: Stage) -> None:
    incidents.delete(drill, incidents.DEPLOYMENT, incidents.SERVICE)


def gone_with_a_controller(drill: Stage) -> None:
    incidents.make_controllers(drill)
    incidents.gone(drill)


class Killed(NamedTuple):
    break_it: Callable[[Stage], None]
    method: str
    path: str
    consent: tuple[str, ...] = ()


WRITES = {
    "restore": Killed(incidents.gone, "POST", "/restores$"),
    "missing objects": Killed(half_there, "POST", "/restores$"),
    "volume kept": Killed(wrong, "PATCH", "/persistentvolumes/", ("--consent", "set-aside")),
    "namespace set aside": Killed(wrong, "DELETE", "/namespaces/production$", ("--consent", "set-aside")),
    "finalizer removed": Killed(
        incidents.held_by_a_finalizer, "PATCH", "/configmaps/orders$", ("--consent", "remove-finalizers")
    ),
    "controller paused": Killed(gone_with_a_controller, "PATCH", "/applications/shop$", ("--consent", "pause-gitops")),
}


@pytest.mark.parametrize("after_work", [False, True], ids=["before it is done", "done, unanswered"])
@pytest.mark.parametrize("write", WRITES)
def test_killed_between_a_write_and_its_answer(drill: Stage, write: str, after_work: bool) -> None:
    """Whether the cluster has done it or not when the runner dies: it is done once."""
    killed = WRITES[write]
    killed.break_it(drill)
    fault = drill.world.fault("hang", method=killed.method, path=killed.path, after_work=after_work, user="runner")
    child = incidents.incident(drill, "killed", *killed.consent)
    drill.world.wait_until_held(fault, 30)
    child.kill()
    child.wait()
    drill.world.release()
    report = incidents.is_back(drill, "killed", drill.resume("killed"))
    assert len(report.attempts) == 2
    assert drill.world.repeated_writes() == []


@pytest.mark.parametrize("where", ["set aside", "second restore"])
def test_killed_while_a_failed_restore_is_repaired(drill: Stage, where: str) -> None:
    """The resumed run goes on with the attempt that it was in: two Restores, the namespace set aside once."""
    incidents.gone(drill)
    drill.world.set(restore_phase="Failed")
    if where == "set aside":
        fault = drill.world.fault(
            "hang", method="DELETE", path="/namespaces/production$", after_work=True, user="runner"
        )
    else:
        fault = drill.world.fault("hang", method="POST", path="/restores$", skip=1, user="runner")
    child = incidents.incident(drill, "killed")
    drill.world.wait_until_held(fault, 40)
    child.kill()
    child.wait()
    drill.world.set(restore_phase="Completed")
    drill.world.release()
    incidents.is_back(drill, "killed", drill.resume("killed"))
    assert incidents.restores(drill) == ["restore-killed", "restore-killed-2"]
    assert drill.world.repeated_writes() == []
