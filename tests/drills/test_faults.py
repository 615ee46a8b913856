"""What goes wrong around a restore, one fault at a time: the run goes on, or its verdict says why not.

In each case: no two Restores onto each other, no change made twice, and the evidence is whole, here and in the store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbooks import evidence
from runbooks.journal import Entry, read
from tests.drills.stage import SCENARIO, Stage
from tests.drills.test_drill import at_the_restore
from tests.fakes import seed
from tests.zygote import Child

BACK, NOT_RECOVERED, REFUSED = 0, 1, 3
VELERO = "/apis/velero.io/v1/namespaces/velero"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
INCIDENT = ("--mode", "incident", "--yes", "--no-server")


def limit_plan_a(drill: Stage, seconds: int) -> None:
    text = drill.site.file.read_text()
    drill.site.file.write_text(text.replace('sustain = "0.5 s"', f'sustain = "0.5 s"\nplan_a_within = "{seconds} s"'))


def restart_velero(drill: Stage) -> None:
    """Its pod is replaced; the new one finds a restore that it did not begin."""
    pods = drill.world.api("GET", "/api/v1/namespaces/velero/pods")["items"]
    [name] = [p["metadata"]["name"] for p in pods if p["metadata"]["labels"].get("deploy") == "velero"]
    drill.world.api("DELETE", f"/api/v1/namespaces/velero/pods/{name}")


def restart_in_mid_restore(drill: Stage) -> None:
    drill.world.set(restore_seconds=4)
    drill.world.release()
    drill.world.wait(lambda: "InProgress" in phases(drill), "the restore under way", 20)
    restart_velero(drill)


def phases(drill: Stage) -> list[str]:
    return [r.get("status", {}).get("phase", "New") for r in drill.world.api("GET", f"{VELERO}/restores")["items"]]


def take_node_agents_away(drill: Stage) -> None:
    drill.world.api("DELETE", "/apis/apps/v1/namespaces/velero/daemonsets/node-agent")


def lose_a_webhook(drill: Stage) -> None:
    """A policy engine was removed, and its configuration was left."""
    service = {"namespace": "policy", "name": "gatekeeper"}
    rule = {"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
    hook = {"name": "validation.gatekeeper.sh", "failurePolicy": "Fail", "clientConfig": {"service": service},
            "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"]}  # fmt: skip
    body = {"metadata": {"name": "gatekeeper"}, "webhooks": [hook]}
    drill.world.api("POST", WEBHOOKS, body)


def mend_the_webhook(drill: Stage) -> None:
    drill.world.api("DELETE", f"{WEBHOOKS}/gatekeeper")


def take_the_port(drill: Stage) -> None:
    drill.world.api("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
    spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30081}]}
    drill.world.api("POST", "/api/v1/namespaces/other/services", {"metadata": {"name": "taker"}, "spec": spec})


def give_the_port_back(drill: Stage) -> None:
    drill.world.api("DELETE", "/api/v1/namespaces/other/services/taker")


def limit_pods(drill: Stage) -> None:
    """An operator makes the namespace again at once, with a quota for fewer pods than the application has."""
    drill.world.api("POST", "/api/v1/namespaces", {"metadata": {"name": "production"}})
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    drill.world.api("POST", "/api/v1/namespaces/production/resourcequotas", quota)


def remove_the_storage_class(drill: Stage) -> None:
    drill.world.api("DELETE", "/apis/storage.k8s.io/v1/storageclasses/standard")


def set_of(**settings: Any) -> Callable[[Stage], None]:
    return lambda drill: drill.world.set(**settings)


@dataclass(frozen=True)
class Fault:
    """What happens just before the Restore is asked for, and what must then be told."""

    happens: Callable[[Stage], None]
    says: str
    mended: Callable[[Stage], None] | None = None  # before the net is used; None: the net does not mind
    seconds: int = 30


FAULTS: dict[str, Fault] = {
    "Velero restarted in mid-restore": Fault(restart_in_mid_restore, 'mark it as "Failed"'),
    "node-agent down": Fault(take_node_agents_away, "did not end within", seconds=4),
    "PartiallyFailed": Fault(
        set_of(restore_omits=["configmaps/orders"], restore_phase="PartiallyFailed"), "ConfigMap/orders",
        mended=set_of(restore_omits=[], restore_phase="Completed"), seconds=4),
    "webhook whose service is gone": Fault(
        lose_a_webhook, 'failed calling webhook "validation.gatekeeper.sh"', mended=mend_the_webhook, seconds=4),
    "NodePort taken": Fault(
        take_the_port, "provided port is already allocated", mended=give_the_port_back, seconds=4),
    "quota exceeded": Fault(limit_pods, "exceeded quota: few", seconds=6),
    "StorageClass missing": Fault(remove_the_storage_class, "is Pending", seconds=4),
    "definition of a kind missing": Fault(set_of(kinds_gone=["coupons.shop.example"]), "Coupon/welcome"),
    "volume data missing": Fault(set_of(lost_snapshots=["invoices", "data-ledger-0"]), "snapshot not found", seconds=4),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_at_the_restore_of_a_drill(drill: Stage, name: str) -> None:
    """Never called passed; why is told; where the net does not share the fault, it brings the service back."""
    fault = FAULTS[name]
    limit_plan_a(drill, fault.seconds)
    with at_the_restore(drill, "fault") as child:
        fault.happens(drill)
    if fault.mended is not None:
        drill.wait_for("fault", child, lambda e: e.kind == "net", seconds=60)
        fault.mended(drill)
    assert child.wait(150) == NOT_RECOVERED, child.output[-4000:]
    report = drill.report("fault")
    assert (report.verdict, report.service) == ("not_recovered", "back"), child.output[-4000:]
    assert fault.says in told(drill), told(drill)[-4000:]
    is_whole(drill)


def told(drill: Stage) -> str:
    """The report as a person reads it, and the reasons of failed steps."""
    failed = [str(e.data["problem"]) for e in drill.journal("fault") if e.kind == "failed"]
    return "\n".join([(drill.evidence("fault") / "report.md").read_text(), *failed])


def is_whole(drill: Stage) -> None:
    """The evidence is complete and lies in the store as it does here; nothing was written twice."""
    lacking = {"after.json"} if drill.report("fault").verdict == "not_recovered" else set()
    assert set(evidence.of(drill.evidence("fault")).missing) <= lacking  # plan A may have failed before it
    stored = drill.site.site.evidence.store.url.removeprefix("file://")
    assert read(drill.evidence("fault") / "journal.jsonl")[-1] == read_stored(stored)[-1]
    assert drill.world.repeated_writes() == []
    made = [
        w.body["metadata"]["name"] for w in drill.world.writes() if w.method == "POST" and w.path.endswith("/restores")
    ]
    assert len(made) == len(set(made)), made


def read_stored(store: str) -> list[Entry]:
    return read(Path(store) / "runs" / "fault" / "journal.jsonl")


# -- incidents: nothing but what is there brings the service back ----------------------------------------------------


def gone(drill: Stage) -> Child:
    """The namespace is deleted, and an incident is started; it is about to ask for the restore."""
    drill.world.api("DELETE", "/api/v1/namespaces/production")
    drill.world.wait(lambda: drill.namespace_uid() is None, "the namespace gone")
    drill.world.wait(lambda: '"ok":false' in samples(drill), "its end seen", 30)
    return drill.dr("run", SCENARIO, "--site", "lab", "--run-id", "fault", *INCIDENT)


def samples(drill: Stage) -> str:
    directory = drill.site.site.observer
    assert directory is not None
    return (directory.directory / "samples.jsonl").read_text()


def is_back(drill: Stage, child: Child) -> list[str]:
    """Returns the problems of its findings."""
    assert child.wait(150) == BACK, child.output[-4000:]
    report = drill.report("fault")
    assert (report.verdict, report.service) == ("passed", "back")
    return [f.problem for f in report.findings]


def restored_from(drill: Stage) -> list[tuple[str, str]]:
    found = drill.world.api("GET", f"{VELERO}/restores")["items"]
    return sorted((r["metadata"]["name"], r["spec"]["backupName"]) for r in found)


def test_velero_restarted_and_api_away_in_an_incident(drill: Stage) -> None:
    """The API is waited for; the failed restore is set aside before the same backup is restored again."""
    fault = drill.world.fault("hang", method="POST", path="/restores$", user="runner")
    child = gone(drill)
    drill.wait_for("fault", child, lambda e: e.kind == "intent" and e.step == "diagnosis.look")
    away = drill.world.away()
    drill.wait_for("fault", child, lambda e: e.kind == "event" and "does not answer" in str(e.data["text"]))
    drill.world.release(away)
    drill.world.wait_until_held(fault, 40)
    restart_in_mid_restore(drill)
    problems = is_back(drill, child)
    assert any("attempt 1, from backup orders-first, failed" in p for p in problems), problems
    assert restored_from(drill) == [("restore-fault", "orders-first"), ("restore-fault-2", "orders-first")]
    is_whole(drill)


def test_backup_expires_before_it_is_restored(drill: Stage) -> None:
    """Velero deletes it between choice and restore: the next older one is taken, and the report says so."""
    seed.back_up(drill.world, "orders-second", drill.site.records)
    before = len(samples(drill).splitlines())
    drill.world.wait(lambda: len(samples(drill).splitlines()) > before + 1, "the application seen green after it")
    fault = drill.world.fault("hang", method="POST", path="/restores$", user="runner")
    child = gone(drill)
    drill.world.wait_until_held(fault, 40)
    drill.world.api("DELETE", f"{VELERO}/backups/orders-second")
    drill.world.release()
    problems = is_back(drill, child)
    assert any("attempt 1, from backup orders-second, failed" in p for p in problems), problems
    assert restored_from(drill) == [("restore-fault", "orders-second"), ("restore-fault-2", "orders-first")]
    is_whole(drill)


def test_evidence_store_away_from_the_middle_on(drill: Stage) -> None:
    """Recovered, with a finding; all of it is kept and sent later, and the next run is not held up by its lock."""
    store = Path(drill.site.site.evidence.store.url.removeprefix("file://"))
    child = gone(drill)
    drill.wait_for("fault", child, lambda e: e.kind == "done" and e.step == "diagnosis.look")
    store.rename(store.with_name("away"))
    store.write_text("in the way")
    problems = is_back(drill, child)
    assert any(str(store) in p or "evidence store" in p for p in problems), problems
    store.unlink()
    store.with_name("away").rename(store)
    sent = drill.dr("reports", "send", "--site", "lab", "--json")
    assert sent.wait(30) == BACK, sent.output[-2000:]
    assert '"fault"' in sent.output
    is_whole(drill)
    assert drill.dr("evidence", "verify", "fault", "--site", "lab").wait() == BACK
    after = drill.start("next", "--dry-run", "--backup", "orders-first")  # one that the observer saw from its begin
    assert after.wait(60) == BACK, after.output[-3000:]
