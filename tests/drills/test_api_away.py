"""The API server is away for a while in mid-run: the run goes on when it is back, and nothing is done twice."""

from __future__ import annotations

import time
from collections.abc import Callable

from runbooks.journal import Entry
from tests.drills.stage import Stage
from tests.zygote import Child

BACK, REFUSED = 0, 3
SECONDS = 12
"""Longer than any single question is asked for by itself (10 s)."""


def begun(step: str) -> Callable[[Entry], bool]:
    return lambda e: e.kind == "intent" and e.step == step


def away(drill: Stage, seconds: float) -> None:
    fault = drill.world.away()
    time.sleep(seconds)
    drill.world.release(fault)


def told(drill: Stage, run_id: str) -> list[str]:
    """What the journal says about it, in order."""
    texts = [str(e.data["text"]) for e in drill.journal(run_id) if e.kind == "event"]
    return [t for t in texts if "the API server of region" in t or "no answer to a change" in t]


def passed(drill: Stage, run_id: str, child: Child) -> None:
    assert child.wait(120) == BACK, child.output[-4000:]
    report = drill.report(run_id)
    assert (report.verdict, report.service, len(report.attempts)) == ("passed", "back", 1)
    assert not any(e.kind in ("net", "failed") for e in drill.journal(run_id))
    assert drill.world.repeated_writes() == []


def test_away_while_it_prepares_restores_and_validates(drill: Stage) -> None:
    """Three outages, one of them 20 s while the result is validated: passed, and the timeline names each gap."""
    drill.world.set(restore_seconds=3)
    child = drill.start("away")
    drill.wait_for("away", child, begun("cluster_state.record_before"))
    away(drill, SECONDS)
    drill.wait_for("away", child, begun("velero.restore"), seconds=60)
    drill.world.cut_watches()
    away(drill, SECONDS)
    drill.wait_for("away", child, begun("validation.compare_objects"), seconds=60)
    away(drill, 20)
    passed(drill, "away", child)
    gaps = told(drill, "away")
    assert len([g for g in gaps if "does not answer" in g]) == 3, gaps
    assert len([g for g in gaps if "answers again, after" in g]) == 3, gaps


def test_away_when_something_is_to_be_changed(drill: Stage) -> None:
    """A change that was not heard is sent again, one that was heard is not; both are looked up first."""
    heard = drill.world.fault("close", method="POST", path="/restores$", user="runner", after_work=True)
    lost = drill.world.fault("close", method="DELETE", path="/namespaces/production$", user="runner")
    broken = drill.world.fault("status", method="PATCH", path="/services/orders$", user="runner", status=503)
    child = drill.start("heard")
    passed(drill, "heard", child)
    assert [drill.world.hits(f) for f in (heard, lost, broken)] == [1, 1, 1]
    assert len([t for t in told(drill, "heard") if "no answer to a change" in t]) == 2


def test_bucket_in_trouble_while_the_backup_is_read(drill: Stage) -> None:
    """It closes the connection, hangs, and answers 503 for a while: asked again, and the backup is read."""
    drill.world.fault("close", server="downloads", times=1)
    drill.world.fault("hang", server="downloads", times=1, seconds=3)
    drill.world.fault("status", server="downloads", method="GET", path="/velero/", status=503, times=4)
    child = drill.start("bucket", "--dry-run")
    assert child.wait(60) == BACK, child.output[-3000:]
    assert "orders-first" in child.output


def test_api_that_answers_no_changes(drill: Stage) -> None:
    """Questions are answered, changes are not: no waiting mends that. Before the break: refused, with the reason."""
    uid = drill.namespace_uid()
    drill.world.fault("status", method="POST", path="/backups$", user="runner", status=503, times=None)
    child = drill.start("mute")
    assert child.wait(90) == REFUSED, child.output[-3000:]
    assert "503" in child.output
    drill.untouched(uid)
