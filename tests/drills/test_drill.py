"""A drill from end to end on the fake world: what passes, what must not, and what must not matter."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments.lab import slack_server
from runbooks.journal import read
from runbooks.records import CheckStatus
from runbooks.report_schema import Report
from tests.drills.stage import Stage, stage
from tests.fakes import site as fake_sites
from tests.zygote import Child, Zygote

BACK, NOT_RECOVERED, REFUSED, ABORTED = 0, 1, 3, 5


@dataclass(frozen=True)
class Passed:
    """A drill that everything was in order for, and that has ended."""

    drill: Stage
    before: str | None
    child: Child
    code: int

    @property
    def report(self) -> Report:
        return self.drill.report("good")

    @property
    def journal(self) -> Path:
        return self.drill.evidence("good") / "journal.jsonl"


@pytest.fixture(scope="module")
def passed(forks: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Passed]:
    """One, for all that only look at what it has left."""
    folder, seen = tmp_path_factory.mktemp("passed"), 1.5  # seconds: the observer asks once in a second
    with slack_server.serve(log=folder / "slack.jsonl") as slack, stage(forks, folder, restore_seconds=seen) as drill:
        drill.site = fake_sites.write(drill.site.file.parent, drill.world, slack_url=slack.url)
        before, child = drill.namespace_uid(), drill.start("good")
        yield Passed(drill, before, child, child.wait(90))


def test_everything_in_order(passed: Passed) -> None:
    """It passes, says how long it was down and what it lost, and leaves everything as it found it."""
    drill, child, report = passed.drill, passed.child, passed.report
    assert passed.code == BACK, child.output[-4000:]
    assert (report.verdict, report.ended, report.service) == ("passed", "finished", "back")
    assert report.evidence_complete
    assert report.actual.rto_seconds is not None
    assert 0 < report.actual.rto_seconds < 60
    assert report.actual.outage_seconds is not None
    assert report.actual.outage_seconds > 0
    assert all(c.status is CheckStatus.PASSED for a in report.applications for c in a.checks)
    assert drill.namespace_uid() not in (None, passed.before)
    assert child.output.rstrip().splitlines()[-1] == f"report: {drill.evidence('good') / 'report.json'}"
    volumes = drill.world.api("GET", "/api/v1/persistentvolumes")["items"]
    assert {v["spec"]["persistentVolumeReclaimPolicy"] for v in volumes} == {"Delete"}
    service = drill.world.api("GET", "/api/v1/namespaces/production/services/orders")
    assert service["spec"]["selector"] == {"app": "orders"}


def test_slack_told_in_one_thread(passed: Passed) -> None:
    """An alert, a reply for each phase in its thread, and the result with the journal's head."""
    assert passed.report.notifications.sent >= 2
    assert passed.report.notifications.failed == ()


def test_finished_run_started_again(passed: Passed) -> None:
    """It has ended; its report stays as it is."""
    before = (passed.drill.evidence("good") / "report.json").read_bytes()
    child = passed.drill.resume("good")
    assert child.wait() == REFUSED
    assert "has ended" in child.output
    assert (passed.drill.evidence("good") / "report.json").read_bytes() == before


def test_evidence_is_complete_and_proven(passed: Passed) -> None:
    """The files that design and auditors name are there, here and in the store; altering one entry is noticed."""
    names = {p.name for p in passed.drill.evidence("good").iterdir()}
    assert names >= {
        "journal.jsonl", "before.json", "backup.json", "after.json", "samples.jsonl",
        "report.json", "report.md", "report.html",
    }  # fmt: skip
    assert passed.drill.dr("evidence", "verify", "good", "--site", "lab").wait() == 0
    written = passed.journal.read_text()
    passed.journal.write_text(written.replace('"kind":"clock"', '"kind":"event"', 1))
    altered = passed.drill.dr("evidence", "verify", "good", "--site", "lab").wait()
    passed.journal.write_text(written)
    assert altered != 0


def test_dry_run(drill: Stage) -> None:
    """It shows the plan and changes nothing."""
    uid = drill.namespace_uid()
    child = drill.start("dry", "--dry-run")
    assert child.wait() == BACK, child.output[-3000:]
    assert "orders-first" in child.output
    drill.untouched(uid)
    harmless = ("/downloadrequests", "/accessreviews", "/exec")
    assert [str(w) for w in drill.world.writes() if not any(part in w.path for part in harmless)] == []


ORDER: dict[str, Any] = {"id": 12345, "customer": "ACME", "total": "199.90", "status": "paid"}
INVOICE = "invoices/12345.txt"
DEPLOYMENT = "deployments.apps/orders"
OLD_IMAGE = {"spec": {"template": {"spec": {"containers": [{"name": "orders", "image": "lab.local/orders:0"}]}}}}
OTHER_BACKUP = {"metadata": {"labels": {"velero.io/backup-name": "other"}}}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "empty volume": ({"lost_snapshots": ["invoices"]}, "Deployment production/orders: 0 of 3 ready"),
    "a file altered": ({"restore_files": {"invoices": {INVOICE: "other"}}}, f"volume:invoices {INVOICE}"),
    "a file missing": ({"restore_files": {"invoices": {"terms.txt": None}}}, "volume:invoices terms.txt"),
    "order wrong": ({"order_12345": {**ORDER, "total": "1.00"}}, "order"),
    "older image": ({"restore_alters": [{"object": DEPLOYMENT, "patch": OLD_IMAGE}]}, "Deployment/orders"),
    "configmap": (
        {"restore_alters": [{"object": "configmaps/orders", "patch": {"data": {"COLOR": "red"}}}]},
        "ConfigMap/orders",
    ),
    "another backup": (
        {"restore_alters": [{"object": DEPLOYMENT, "patch": OTHER_BACKUP}]},
        "restored from the planned backup",
    ),
    "pdb gone": ({"restore_omits": ["poddisruptionbudgets.policy/orders"]}, "PodDisruptionBudget/orders"),
    "fewer replicas": (
        {"restore_alters": [{"object": DEPLOYMENT, "patch": {"spec": {"replicas": 1}}}]},
        "Deployment/orders",
    ),
}


def _plan_a_within(drill: Stage, limit: str) -> None:
    text = drill.site.file.read_text()
    drill.site.file.write_text(text.replace('sustain = "0.5 s"', f'sustain = "0.5 s"\nplan_a_within = "{limit}"'))


@contextmanager
def at_the_restore(drill: Stage, run_id: str, *more: str) -> Iterator[Child]:
    """A drill that has broken the namespace and is about to ask for the restore; it goes on after the block."""
    fault = drill.world.fault("hang", method="POST", path="/restores$", user="runner")
    child = drill.start(run_id, *more)
    drill.world.wait_until_held(fault, 40)
    yield child
    drill.world.release()


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_recovery(drill: Stage, wrong: str) -> None:
    """Whatever the tools say: not recovered, the difference is named, and the net brings the service back."""
    settings, names = WRONG[wrong]
    _plan_a_within(drill, "10 s")
    with at_the_restore(drill, "wrong") as child:
        drill.world.set(**settings)
    drill.wait_for("wrong", child, lambda e: e.kind in ("net", "ended"), seconds=90)
    drill.world.set(lost_snapshots=[], restore_files={}, restore_alters=[], restore_omits=[], order_12345=ORDER)
    assert child.wait(90) == NOT_RECOVERED, child.output[-4000:]
    report = drill.report("wrong")
    assert report.verdict == "not_recovered"
    told = [c.name for a in report.applications for c in a.checks if c.status is not CheckStatus.PASSED]
    told += [str(e.data["problem"]) for e in drill.journal("wrong") if e.kind == "failed"]
    assert any(names in one for one in told), told
    assert any(e.kind == "net" for e in drill.journal("wrong"))
    assert report.service == "back", child.output[-4000:]


@pytest.mark.parametrize("phase", ["Failed", "FailedValidation"])
def test_restore_fails(drill: Stage, phase: str) -> None:
    """Plan A is over at once, the net is used: the service is back, the drill is not passed."""
    with at_the_restore(drill, "fails") as child:
        drill.world.set(restore_phase=phase)
    drill.wait_for("fails", child, lambda e: e.kind == "net", seconds=60)
    drill.world.set(restore_phase="Completed")
    assert child.wait(90) == NOT_RECOVERED, child.output[-4000:]
    report = drill.report("fails")
    assert (report.verdict, report.service) == ("not_recovered", "back")


def test_restore_hangs(drill: Stage) -> None:
    """Plan A has a deadline; after it the net is used."""
    _plan_a_within(drill, "4 s")
    with at_the_restore(drill, "hangs") as child:
        drill.world.set(restore_phase="InProgress")
    drill.wait_for("hangs", child, lambda e: e.kind == "net", seconds=60)
    drill.world.set(restore_phase="Completed")
    assert child.wait(90) == NOT_RECOVERED, child.output[-4000:]
    assert drill.report("hangs").service == "back"


def test_terminated_and_resumed(drill: Stage) -> None:
    """SIGTERM is recorded, the lock is free, what is left is told; the same run id goes on."""
    drill.world.set(restore_seconds=2)
    child = drill.start("stopped")
    drill.wait_for("stopped", child, lambda e: e.kind == "write" and "restore" in str(e.data["what"]).lower())
    child.kill(signal.SIGTERM)
    assert child.wait() == ABORTED, child.output[-3000:]
    report = drill.report("stopped")
    assert report.verdict == "aborted"
    assert any('"orders-first"' in step or "-orders-first" in step for step in report.remaining_steps)
    assert not any("$BACKUP" in step for step in report.remaining_steps)
    lease = drill.world.api("GET", "/apis/coordination.k8s.io/v1/namespaces/dr-runbooks/leases/orders")
    assert not lease["spec"].get("holderIdentity")
    assert drill.resume("stopped").wait(90) == BACK
    assert drill.report("stopped").verdict == "passed"
    assert len(read(drill.evidence("stopped") / "journal.jsonl")) > 0


@pytest.mark.parametrize("how", [b for b in slack_server.Behaviour if b is not slack_server.Behaviour.NORMAL])
def test_slack_misbehaves(drill: Stage, how: slack_server.Behaviour) -> None:
    """The drill passes, at most 2 s later, and the report says what was not sent."""
    with slack_server.serve(log=drill.folder / "slack.jsonl") as slack:
        drill.site = fake_sites.write(drill.site.file.parent, drill.world, slack_url=slack.url)
        slack.misbehave(how)
        began = time.monotonic()
        child = drill.start("mute")
        assert child.wait(90) == BACK, child.output[-3000:]
        took = time.monotonic() - began
        report = drill.report("mute")
    assert report.verdict == "passed"
    assert report.notifications.failed or how is slack_server.Behaviour.SLOW
    assert took < 60


def test_gone_on_with_on_another_host(drill: Stage) -> None:
    """All that a resume needs is in the evidence store: this host's evidence is taken away."""
    child = drill.start("moved")
    drill.wait_for("moved", child, lambda e: e.kind == "done" and e.step == "disasters.delete_namespace")
    child.kill()
    child.wait()
    drill.evidence("moved").rename(drill.folder / "the-other-host")
    resumed = drill.resume("moved")
    assert resumed.wait(90) == BACK, resumed.output[-3000:]
    report = drill.report("moved")
    assert (report.verdict, len(report.attempts)) == ("passed", 2)
    assert drill.world.repeated_writes() == []
