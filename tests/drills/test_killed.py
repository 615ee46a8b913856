"""kill -9 at any instant, then the same run id again: it goes on, and does nothing twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runbooks import documents
from runbooks.journal import Entry
from runbooks.records import RunKind
from tests.drills.stage import SCENARIO, Stage

DOCUMENT = documents.load(SCENARIO)
STEPS = [s for s in DOCUMENT.steps_of(RunKind.DRILL) if DOCUMENT.phase_of(s) != "clean_up"]
WRITES = {
    "lease": ("POST", "/leases"),
    "safety backup": ("POST", "/backups$"),
    "volume kept": ("PATCH", "/persistentvolumes/"),
    "namespace deleted": ("DELETE", "/namespaces/production$"),
    "gate closed": ("POST", "/configmaps"),
    "restore": ("POST", "/restores$"),
    "gate opened": ("PATCH", "/services/"),
}


def has_recovered(drill: Stage, run_id: str) -> None:
    """Resumed, the run passes: one restore, the first fault, the first state before, nothing done twice."""
    targets, fault = targets_of(drill, run_id), faults_of(drill, run_id)
    child = drill.resume(run_id)
    assert child.wait(90) == 0, child.output[-4000:]
    report = drill.report(run_id)
    assert report.verdict == "passed"
    assert report.ended == "finished"
    assert len(report.attempts) == 2
    assert drill.world.repeated_writes() == []
    made = [w for w in drill.world.writes() if w.succeeded and w.method == "POST" and w.path.endswith("/restores")]
    assert len(made) == 1
    assert len(faults_of(drill, run_id)) == 1
    assert not fault or faults_of(drill, run_id) == fault
    assert not targets or targets_of(drill, run_id) == targets


def faults_of(drill: Stage, run_id: str) -> list[object]:
    return [e.data["at"] for e in drill.journal(run_id) if e.kind == "clock" and e.data["name"] == "fault"]


def targets_of(drill: Stage, run_id: str) -> list[object]:
    """The state before is recorded once: what the first attempt pinned counts."""
    return [e.data["target"] for e in drill.journal(run_id) if e.kind == "application" and "target" in e.data]


def kill_at(drill: Stage, run_id: str, is_there: Callable[[Entry], bool]) -> None:
    child = drill.start(run_id)
    drill.wait_for(run_id, child, is_there)
    child.kill()
    child.wait()


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(drill: Stage, step: str) -> None:
    """Killed when a step has just begun (and the one before it is just done): the resumed run recovers."""
    kill_at(drill, "killed", lambda e: e.kind == "intent" and e.step == step)
    has_recovered(drill, "killed")


@pytest.mark.parametrize("after_work", [False, True], ids=["before it is done", "done, unanswered"])
@pytest.mark.parametrize("write", WRITES)
def test_killed_between_a_write_and_its_answer(drill: Stage, write: str, after_work: bool) -> None:
    """Whether the cluster has done it or not when the runner dies: it is done once."""
    method, path = WRITES[write]
    fault = drill.world.fault("hang", method=method, path=path, after_work=after_work, user="runner")
    child = drill.start("killed")
    drill.world.wait_until_held(fault, 30)
    child.kill()
    child.wait()
    drill.world.release()
    has_recovered(drill, "killed")


def test_killed_while_terminating_and_resumed_later(drill: Stage) -> None:
    """The RTO counts from the first fault, the time in between included."""
    drill.world.set(termination_seconds=2)
    fault = drill.world.fault("hang", method="DELETE", path="/namespaces/production$", after_work=True, user="runner")
    child = drill.start("killed")
    drill.world.wait_until_held(fault, 30)
    child.kill()
    child.wait()
    drill.world.release()
    drill.world.wait(lambda: drill.namespace_uid() is None, "the namespace gone", 20)
    has_recovered(drill, "killed")
    report = drill.report("killed")
    assert report.actual.rto_seconds is not None
    assert report.actual.rto_seconds > 2


def test_killed_after_each_step_in_turn(drill: Stage) -> None:
    """One run, killed after every one of its steps, still does everything once and passes."""
    drill.start("patient")
    done: set[str] = set()
    child = drill.children[-1]
    for step in STEPS:
        entry = drill.wait_for("patient", child, lambda e, s=step: e.kind == "done" and e.step == s)  # type: ignore[misc]
        done.add(str(entry.step))
        child.kill()
        child.wait()
        child = drill.resume("patient")
    assert child.wait(90) == 0, child.output[-4000:]
    assert done == set(STEPS)
    assert drill.report("patient").verdict == "passed"
    assert drill.world.repeated_writes() == []
