"""SIGTERM in every phase: recorded, the lock is free, the same run id goes on, and nothing is done twice."""

from __future__ import annotations

import signal

from runbooks.journal import Entry
from tests.drills.stage import Stage

BACK, NOT_RECOVERED, REFUSED, ABORTED = 0, 1, 3, 5
IN = {
    "prepare": "net.cast",
    "break": "disasters.delete_namespace",
    "restore": "velero.restore",
    "validate": "probes.wait_until_visible",
}


def test_in_each_phase_in_turn(drill: Stage) -> None:
    """One run, stopped in the middle of each phase, passes in the end; stopped before the break it was refused."""
    drill.world.set(restore_seconds=3, backup_seconds=1, termination_seconds=3)  # we come in time, though busy
    child = drill.start("stopped")
    for number, step in enumerate(IN.values(), 1):
        kind = "write" if step == IN["break"] else "intent"
        drill.wait_for("stopped", child, lambda e, k=kind, s=step, n=number: _is(e, k, s, n))  # type: ignore[misc]
        child.kill(signal.SIGTERM)
        assert child.wait(60) == (REFUSED if step == IN["prepare"] else ABORTED), child.output[-3000:]
        _is_let_go(drill)
        child = drill.resume("stopped")
    # In clean_up: the recovery is proven, its backup afterwards is not yet there.
    drill.wait_for("stopped", child, lambda e: e.kind == "write" and "Backup velero/after" in str(e.data["what"]))
    child.kill(signal.SIGTERM)
    assert child.wait(60) == ABORTED, child.output[-3000:]
    _is_let_go(drill)
    child = drill.resume("stopped")
    assert child.wait(90) == BACK, child.output[-4000:]
    report = drill.report("stopped")
    assert report.verdict == "passed"
    assert [a.ended_at is not None for a in report.attempts] == [True] * (len(IN) + 2)
    assert drill.world.repeated_writes() == []


def _is(entry: Entry, kind: str, step: str, attempt: int) -> bool:
    return (entry.kind, entry.step, entry.attempt) == (kind, step, attempt)


def _is_let_go(drill: Stage) -> None:
    report = drill.report("stopped")
    assert report.verdict in ("aborted", "refused")
    assert report.ended == "aborted"
    lease = drill.world.api("GET", "/apis/coordination.k8s.io/v1/namespaces/dr-runbooks/leases/orders")
    assert not lease["spec"].get("holderIdentity")


def test_while_the_net_is_used(drill: Stage) -> None:
    """Stopped, it can be gone on with: the net brings the service back, and the verdict stays not recovered."""
    fault = drill.world.fault("hang", method="POST", path="/restores$", user="runner")
    child = drill.start("stopped")
    drill.world.wait_until_held(fault, 40)
    drill.world.set(restore_phase="Failed")
    drill.world.release()
    drill.wait_for("stopped", child, lambda e: e.kind == "write" and "failed restore left" in str(e.data["what"]))
    child.kill(signal.SIGTERM)
    assert child.wait(60) == ABORTED, child.output[-3000:]
    _is_let_go(drill)
    drill.world.set(restore_phase="Completed")
    child = drill.resume("stopped")
    assert child.wait(90) == NOT_RECOVERED, child.output[-4000:]
    assert (drill.report("stopped").verdict, drill.report("stopped").service) == ("not_recovered", "back")
