"""Incidents on the fake world: what is found, what is planned, who agrees, and what comes back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from runbooks.journal import Entry
from runbooks.model import now, rfc3339
from runbooks.records import CheckStatus
from runbooks.report_schema import Report
from tests.drills.stage import SCENARIO, Stage
from tests.fakes import seed
from tests.fakes import site as fake_sites
from tests.zygote import Child

BACK, NOT_RECOVERED, REFUSED, LATE = 0, 1, 3, 4
NAMESPACE = "/api/v1/namespaces/production"
DEPLOYMENT = "/apis/apps/v1/namespaces/production/deployments/orders"
SERVICE = "/api/v1/namespaces/production/services/orders"
CLAIMS = "/api/v1/namespaces/production/persistentvolumeclaims"
INCIDENT = ("--mode", "incident", "--no-server")


def incident(drill: Stage, run_id: str, *more: str) -> Child:
    return drill.dr("run", SCENARIO, "--site", "lab", "--run-id", run_id, *INCIDENT, *more)


def gone(drill: Stage) -> None:
    """Somebody deleted it; that is seen from outside."""
    drill.world.api("DELETE", NAMESPACE)
    drill.world.wait(lambda: drill.namespace_uid() is None, "the namespace gone")
    wait_until_red(drill)


def samples(drill: Stage) -> list[str]:
    directory = drill.site.site.observer
    assert directory is not None
    return (directory.directory / "samples.jsonl").read_text().splitlines()


def wait_for_samples(drill: Stage, count: int) -> None:
    before = len(samples(drill))
    drill.world.wait(lambda: len(samples(drill)) >= before + count, f"{count} more samples")


def wait_until_red(drill: Stage) -> None:
    drill.world.wait(lambda: '"ok":false' in samples(drill)[-1], "the observer sees red")


def delete(drill: Stage, *paths: str) -> None:
    for path in paths:
        drill.world.api("DELETE", path)
    drill.world.wait(lambda: all(drill.world.find(path) is None for path in paths), "what was deleted gone")
    wait_until_red(drill)


def plan_of(drill: Stage, run_id: str) -> dict[str, Any]:
    return dict(next(e.data for e in drill.journal(run_id) if e.kind == "plan"))


def state_and_way(drill: Stage, run_id: str) -> tuple[str, str]:
    [found] = plan_of(drill, run_id)["diagnosis"]
    return found["state"], found["way"]


def is_back(drill: Stage, run_id: str, child: Child) -> Report:
    code = child.wait(90)
    report = drill.report(run_id)
    assert code == BACK, f"{report.verdict}, met {report.objectives_met}\n{child.output[-5000:]}"
    assert (report.verdict, report.service) == ("passed", "back")
    assert [c for a in report.applications for c in a.checks if c.status is not CheckStatus.PASSED] == []
    return report


def is_refused(drill: Stage, run_id: str, child: Child, *says: str) -> None:
    assert child.wait(60) == REFUSED, child.output[-4000:]
    for text in says:
        assert text in child.output
    assert drill.report(run_id).verdict == "refused"
    assert changes(drill) == []


def changes(drill: Stage) -> list[str]:
    """Every change of the cluster by the runner; questions that are asked by a POST, and the lock, aside."""
    harmless = ("/downloadrequests", "/accessreviews", "/exec", "/leases")
    return [str(w) for w in drill.world.writes() if not any(part in w.path for part in harmless)]


# -- gone -------------------------------------------------------------------------------------------------------------


def test_gone(drill: Stage) -> None:
    """It is restored from the newest good backup; the fault is the last green that the observer saw."""
    gone(drill)
    report = is_back(drill, "gone", incident(drill, "gone"))
    assert state_and_way(drill, "gone") == ("gone", "restore")
    assert report.clocks.fault is not None
    assert report.actual.rto_seconds is not None
    plan = plan_of(drill, "gone")
    assert plan["backup"] == "orders-first"
    assert "Deployment/orders" in plan["creates"]
    assert plan["expected_loss"]["volume:invoices"] > 0
    assert plan["eta"] == {"seconds": None, "from_runs": 0}
    assert {c.step: c.status for c in report.clean_up}["protection.check"] == "done"
    assert drill.world.repeated_writes() == []


def test_dry_run(drill: Stage) -> None:
    """The plan is shown, and the world is as it was: nobody holds a lock, no incident is open."""
    gone(drill)
    child = incident(drill, "dry", "--dry-run")
    assert child.wait(60) == BACK, child.output[-3000:]
    assert "namespace production is gone: restore" in child.output
    assert changes(drill) == []
    assert [w for w in drill.world.writes() if "/leases" in w.path] == []
    assert not (drill.site.file.parent / "store" / "incidents").exists()


def test_fault_given(drill: Stage) -> None:
    """A backup from after the fault is not taken; the RTO counts from what the person says."""
    said = rfc3339(now())
    time.sleep(1)  # Velero's stamps are whole seconds
    seed.back_up(drill.world, "orders-later", drill.site.records)
    gone(drill)
    report = is_back(drill, "said", incident(drill, "said", "--fault-at", said))
    assert plan_of(drill, "said")["backup"] == "orders-first"
    assert report.clocks.fault is not None
    assert rfc3339(report.clocks.fault) == said


def test_fault_in_the_future(drill: Stage) -> None:
    """A mistyped time is refused."""
    is_refused(drill, "future", incident(drill, "future", "--fault-at", "2099-01-01T00:00:00Z"), "is in the future")


def test_nobody_knows_since_when(drill: Stage) -> None:
    """A backup of what was gone already says Completed; it is passed over. Of the RTO only a lower limit is known."""
    gone(drill)
    directory = drill.site.site.observer
    assert directory is not None
    drill.children[0].kill()
    drill.children[0].wait()
    (directory.directory / "samples.jsonl").unlink()
    seed_empty_backup(drill)
    child = incident(drill, "when")
    assert child.wait(90) == LATE, child.output[-4000:]
    report = drill.report("when")
    assert (report.verdict, report.service) == ("late", "back")
    assert report.clocks.fault is None
    assert report.actual.rto_seconds is None
    assert report.actual.rto_at_least_seconds is not None
    assert plan_of(drill, "when")["backup"] == "orders-first"
    [rejected] = [r for r in plan_of(drill, "when")["rejected"] if r["backup"] == "orders-empty"]
    assert "taken when it was broken already" in rejected["why"]


def seed_empty_backup(drill: Stage) -> None:
    meta = {"name": "orders-empty", "namespace": "velero"}
    spec = {"includedNamespaces": ["production"], "ttl": "72h0m0s", "storageLocation": "default"}
    made = seed.create(drill.world, {"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": meta, "spec": spec})
    where = f"{seed.path(made)}/orders-empty"
    drill.world.wait(lambda: "completionTimestamp" in drill.world.api("GET", where).get("status", {}), "the backup")


def test_api_unreachable(drill: Stage) -> None:
    """It is said which disaster that is."""
    drill.world.fault("close", times=None, user="runner")
    child = incident(drill, "away")
    assert child.wait(60) == REFUSED, child.output[-3000:]
    assert "cluster-loss" in child.output


# -- terminating ------------------------------------------------------------------------------------------------------


def held_by_a_finalizer(drill: Stage) -> None:
    """Removing it takes a right on that kind, which no role of ours has: it is granted for this incident."""
    grant(drill, {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]})
    hold(drill)


def hold(drill: Stage) -> None:
    drill.world.patch(
        "/api/v1/namespaces/production/configmaps/orders", {"metadata": {"finalizers": ["shop.example/guard"]}}
    )
    drill.world.api("DELETE", NAMESPACE)
    wait_until_red(drill)


def grant(drill: Stage, rule: dict[str, list[str]]) -> None:
    kind, name = "rbac.authorization.k8s.io/v1", {"metadata": {"name": "for-this-incident"}}
    where = f"/apis/{kind}/cluster"
    drill.world.api("POST", f"{where}roles", {"apiVersion": kind, "kind": "ClusterRole", **name, "rules": [rule]})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "for-this-incident"}
    account = {"kind": "ServiceAccount", "name": "dr-runner", "namespace": "dr-runbooks"}
    binding = {"apiVersion": kind, "kind": "ClusterRoleBinding", **name, "roleRef": ref, "subjects": [account]}
    drill.world.api("POST", f"{where}rolebindings", binding)


def test_terminating_with_a_finalizer(drill: Stage) -> None:
    """What holds it is shown; nothing is removed without consent."""
    held_by_a_finalizer(drill)
    is_refused(drill, "held", incident(drill, "held"), "ConfigMap/orders waits for finalizer shop.example/guard",
               "--consent remove-finalizers")  # fmt: skip
    is_back(drill, "freed", incident(drill, "freed", "--consent", "remove-finalizers"))
    assert state_and_way(drill, "freed")[0] == "terminating"
    assert drill.world.repeated_writes() == []


def test_terminating_by_itself(drill: Stage) -> None:
    """It is waited for; its volumes are kept, and the report says where."""
    drill.world.set(termination_seconds=8)
    drill.world.api("DELETE", NAMESPACE)
    wait_until_red(drill)
    report = is_back(drill, "going", incident(drill, "going"))
    assert state_and_way(drill, "going") == ("terminating", "wait until it is gone, then restore")
    assert isinstance(report.applications[0].kept, tuple)


# -- half there -------------------------------------------------------------------------------------------------------


def test_half_there(drill: Stage) -> None:
    """Deployment and Service are created again from the backup; claims, volumes and all else are not touched."""
    before = {c["metadata"]["name"]: c["metadata"]["uid"] for c in drill.world.api("GET", CLAIMS)["items"]}
    uid = drill.namespace_uid()
    (drill.world.volume("production", "invoices") / "invoices" / "99999.txt").write_text("written since the backup\n")
    delete(drill, DEPLOYMENT, SERVICE)
    report = is_back(drill, "half", incident(drill, "half"))
    assert state_and_way(drill, "half") == ("half there", "create what is missing")
    assert plan_of(drill, "half")["creates"] == ["Deployment/orders", "Service/orders"]
    assert drill.namespace_uid() == uid
    assert {c["metadata"]["name"]: c["metadata"]["uid"] for c in drill.world.api("GET", CLAIMS)["items"]} == before
    assert (drill.world.volume("production", "invoices") / "invoices" / "99999.txt").exists()
    [restore] = [w.body["spec"] for w in drill.world.writes() if w.path.endswith("/restores")]
    assert restore["includedResources"] == ["deployments.apps", "services"]
    assert drill.world.api("GET", SERVICE)["spec"]["selector"] == {"app": "orders"}
    assert report.actual.rpo_seconds is None or report.actual.rpo_seconds == 0


def test_half_there_with_a_lost_claim(drill: Stage) -> None:
    """Its files come back with pods only, so all is set aside and restored, with consent; the old volumes are kept."""
    drill.world.api("DELETE", DEPLOYMENT)
    delete(drill, f"{CLAIMS}/invoices")
    is_refused(drill, "lost", incident(drill, "lost"), "--consent set-aside")
    kept = {v["metadata"]["name"] for v in drill.world.api("GET", "/api/v1/persistentvolumes")["items"]}
    report = is_back(drill, "aside", incident(drill, "aside", "--consent", "set-aside"))
    assert report.applications[0].kept
    there = {v["metadata"]["name"]: v for v in drill.world.api("GET", "/api/v1/persistentvolumes")["items"]}
    assert kept <= there.keys()
    assert all(there[name]["spec"]["persistentVolumeReclaimPolicy"] == "Retain" for name in kept)


# -- there but wrong --------------------------------------------------------------------------------------------------


def test_there_but_wrong(drill: Stage) -> None:
    """What differs is named; it is set aside by its UID, with consent, and restored."""
    uid = drill.namespace_uid()
    drill.world.patch(DEPLOYMENT, {"spec": {"replicas": 0}})
    wait_until_red(drill)
    is_refused(drill, "wrong", incident(drill, "wrong"), "Deployment/orders spec.replicas", "--consent set-aside")
    report = is_back(drill, "right", incident(drill, "right", "--consent", "set-aside"))
    assert state_and_way(drill, "right") == ("there but wrong", "set aside, then restore")
    assert drill.namespace_uid() not in (None, uid)
    assert any("old volumes are kept" in f.problem for f in report.findings)


def test_nothing_is_the_matter(drill: Stage) -> None:
    """It is refused: everything is there and answers."""
    is_refused(drill, "well", incident(drill, "well"), "nothing is the matter with orders")


# -- approval ---------------------------------------------------------------------------------------------------------


def asks(drill: Stage, within: str = "20 s") -> None:
    """From now on a named person must agree to incidents."""
    rules = f'[approval]\nrequired_for = ["incident"]\napprovers = ["alice"]\nwithin = "{within}"\n\n[observer]'
    drill.site = fake_sites.write(drill.site.file.parent, drill.world, replacing={"[observer]": rules})


def waits(entry: Entry) -> bool:
    return entry.kind == "event" and "waiting for approval" in str(entry.data["text"])


def approve(drill: Stage, run_id: str, *more: str) -> Child:
    child = drill.dr("approve", run_id, "--as", "alice", "--why", "it is gone", "--loss", "1 min", *more)
    child.wait()
    return child


def test_approved(drill: Stage) -> None:
    """Nothing is changed before; who, why and which loss are in the report, and so is the wait."""
    asks(drill)
    gone(drill)
    child = incident(drill, "asked", "--yes")
    drill.wait_for("asked", child, waits)
    assert changes(drill) == []
    mallory = drill.dr("approve", "asked", "--as", "mallory", "--why", "fun", "--loss", "all")
    assert mallory.wait() == REFUSED
    assert approve(drill, "asked").wait() == BACK
    assert approve(drill, "asked").wait() == REFUSED
    report = is_back(drill, "asked", child)
    assert [(a.who, a.why, a.loss) for a in report.approvals] == [("alice", "it is gone", "1 min")]
    assert report.actual.human_wait_seconds is not None
    assert 0 < report.actual.human_wait_seconds < 20
    assert report.clocks.decided is not None


@pytest.mark.parametrize("how", ["no", "too late", "another plan"])
def test_not_approved(drill: Stage, how: str) -> None:
    """No is no, silence is no, and yes to another plan is no: nothing was changed."""
    asks(drill, "2 s" if how == "too late" else "20 s")
    gone(drill)
    if how == "another plan":
        where = drill.site.file.parent / "store" / "runs" / "asked" / "approval.json"
        where.parent.mkdir(parents=True)
        answer = {"plan_sha256": "0", "agrees": True, "who": "alice", "why": "w", "loss": "l", "at": rfc3339(now())}
        where.write_text(json.dumps(answer))
    child = incident(drill, "asked", "--yes")
    if how == "no":
        drill.wait_for("asked", child, waits)
        assert approve(drill, "asked", "--no").wait() == BACK
    says = {"no": "alice said no", "too late": "not within 2 s", "another plan": "approved another plan"}[how]
    is_refused(drill, "asked", child, says)


# -- restores that fail -----------------------------------------------------------------------------------------------


def test_restore_fails_and_is_repaired(drill: Stage) -> None:
    """What it left is set aside by UID before the same backup is restored again: never on top of it."""
    gone(drill)
    fault = drill.world.fault("hang", method="POST", path="/restores$", user="runner")
    child = incident(drill, "again")
    drill.world.wait_until_held(fault, 40)
    drill.world.set(restore_phase="Failed")
    drill.world.release()
    drill.wait_for("again", child, lambda e: e.kind == "finding" and "attempt 1" in str(e.data["problem"]))
    drill.world.set(restore_phase="Completed")
    report = is_back(drill, "again", child)
    assert restores(drill) == ["restore-again", "restore-again-2"]
    assert any("attempt 1, from backup orders-first, failed" in f.problem for f in report.findings)


def restores(drill: Stage) -> list[str]:
    found = drill.world.api("GET", "/apis/velero.io/v1/namespaces/velero/restores")["items"]
    return sorted(one["metadata"]["name"] for one in found)


def test_first_backup_is_bad(drill: Stage) -> None:
    """Its volume data is missing in the bucket: the next older backup is taken, and the report says so."""
    seed.back_up(drill.world, "orders-second", drill.site.records)
    wait_for_samples(drill, 2)  # the fault is told from the last green one, and must not lie before this backup
    gone(drill)
    drill.world.set(lost_snapshots=["invoices"])
    child = incident(drill, "next")
    drill.wait_for("next", child, lambda e: e.kind == "finding" and "attempt 1" in str(e.data["problem"]))
    drill.world.set(lost_snapshots=[])
    report = is_back(drill, "next", child)
    assert plan_of(drill, "next")["backup"] == "orders-second"
    taken = [c.observed for a in report.applications for c in a.checks if c.name == "backup of the restore"]
    assert taken == ["orders-first"]
    assert any("attempt 1, from backup orders-second, failed" in f.problem for f in report.findings)


# -- who works against it ---------------------------------------------------------------------------------------------

ARGO = "/apis/argoproj.io/v1alpha1/namespaces/dr-runbooks/applications"
FLUX = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/dr-runbooks/kustomizations"
HELM = "/apis/helm.toolkit.fluxcd.io/v2/namespaces/dr-runbooks/helmreleases"
AUTOMATED = {"automated": {"prune": True, "selfHeal": True}}


def make_controllers(drill: Stage) -> None:
    """One of Argo CD and two of Flux that work on the namespace, and one of each that does not."""
    for name, namespace in (("shop", "production"), ("other", "elsewhere")):
        meta = {"name": name, "namespace": "dr-runbooks"}
        argo = {"destination": {"namespace": namespace}, "syncPolicy": AUTOMATED}
        flux = {"targetNamespace": namespace, "interval": "1m"}
        drill.world.api(
            "POST", ARGO, {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": meta, "spec": argo}
        )
        kind = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization"}
        drill.world.api("POST", FLUX, {**kind, "metadata": meta, "spec": flux})
        kind = {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease"}
        drill.world.api("POST", HELM, {**kind, "metadata": meta, "spec": {**flux, "suspend": False}})


def specs(drill: Stage) -> dict[str, Any]:
    found = (drill.world.api("GET", f"{where}/{name}") for where in (ARGO, FLUX, HELM) for name in ("shop", "other"))
    return {f"{one['kind']}/{one['metadata']['name']}": one["spec"] for one in found}


def test_controllers_that_would_undo_it(drill: Stage) -> None:
    """They are named; with consent paused before anything is restored, and set back at the end as they were."""
    make_controllers(drill)
    before = specs(drill)
    gone(drill)
    is_refused(drill, "gitops", incident(drill, "gitops"), "in the way: Application dr-runbooks/shop",
               "in the way: Kustomization dr-runbooks/shop", "in the way: HelmRelease dr-runbooks/shop",
               "--consent pause-gitops")  # fmt: skip
    fault = drill.world.fault("hang", method="POST", path="/restores$", user="runner")
    child = incident(drill, "paused", "--consent", "pause-gitops")
    drill.world.wait_until_held(fault, 40)
    meanwhile = specs(drill)
    assert meanwhile["Application/shop"]["syncPolicy"] == {}
    assert meanwhile["Kustomization/shop"]["suspend"] is True
    assert meanwhile["HelmRelease/shop"]["suspend"] is True
    assert {k: v for k, v in meanwhile.items() if "other" in k} == {k: v for k, v in before.items() if "other" in k}
    drill.world.release()
    is_back(drill, "paused", child)
    assert specs(drill) == before


# -- beside it --------------------------------------------------------------------------------------------------------


def test_drill_while_an_incident_is_open(drill: Stage) -> None:
    """It is refused until the incident has ended."""
    asks(drill, "60 s")
    gone(drill)
    child = incident(drill, "open", "--yes")
    drill.wait_for("open", child, waits)
    child.kill()
    child.wait()
    drill.world.api("DELETE", "/apis/coordination.k8s.io/v1/namespaces/dr-runbooks/leases/orders")  # else wait for 30 s
    refused = drill.start("drill", "--take-over")
    assert refused.wait(60) == REFUSED
    assert "incident open is open" in refused.output
    again = drill.resume("open")
    drill.wait_for("open", again, lambda e: waits(e) and e.attempt == 2)
    assert approve(drill, "open").wait() == BACK
    is_back(drill, "open", again)
    ended = json.loads((drill.site.file.parent / "store" / "incidents" / "open.json").read_text())
    assert ended["ended"] is not None


def test_evidence_store_away(drill: Stage) -> None:
    """The incident goes on with journal and Lease alone, and says what was not stored."""
    gone(drill)
    store = drill.site.file.parent / "store"
    store.rename(store.with_name("store-away")) if store.exists() else None
    store.write_text("not a directory")
    child = incident(drill, "alone")
    code = child.wait(90)
    report = drill.report("alone")
    assert code == BACK, child.output[-4000:]
    assert (report.verdict, report.service) == ("passed", "back")
    assert any("could not be stored" in f.problem for f in report.findings)
