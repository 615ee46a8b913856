"""A drill with impact sandbox on the fake world: the copy is proven, and the original does not notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runbooks.journal import Entry
from runbooks.records import CheckStatus
from runbooks.report_schema import Report
from tests.drills.stage import SCENARIO, Stage
from tests.fakes import seed
from tests.zygote import Child

BACK, NOT_RECOVERED, REFUSED = 0, 1, 3
SANDBOX = ("--mode", "drill", "--impact", "sandbox", "--yes", "--no-server")
WRITES = {
    "namespace made": ("POST", "/namespaces$"),
    "control pod": ("POST", "/pods$"),
    "policy": ("POST", "/networkpolicies$"),
    "changes": ("POST", "/configmaps$"),
    "restore": ("POST", "/restores$"),
    "namespace removed": ("DELETE", "/namespaces/sandbox-"),
}


@pytest.fixture(autouse=True)
def allowed(drill: Stage) -> None:
    allow(drill)


def allow(drill: Stage) -> None:
    text = drill.site.file.read_text()
    drill.site.file.write_text(text.replace('impacts = ["real"]', 'impacts = ["real", "sandbox"]'))


KEY = 'sandbox = { image = "lab.local/busybox:1"'
DATABASE = """
[[hosts]]
name = "db-a"
address = "db.example"
user = "postgres"
host_key = "ssh-ed25519 AAAA"
[[databases]]
name = "orders"
host = "localhost"
database = "orders"
user = "orders"
password = "env:NOBODY"
stanza = "orders"
system_identifier = "1"
server = { host = "db-a", data = "/pg/data", programs = "/pg/bin", start = ["true"], stop = ["true"] }
backups = {}
restore_test = { folder = "/pg/test" }
"""


def want_it_started(drill: Stage) -> None:
    """The site has a database for the sandbox, where production listens."""
    text = drill.site.file.read_text()
    assert KEY in text
    key = f'{KEY}, database = {{ name = "orders", address = "127.0.0.1" }}'
    drill.site.file.write_text(text.replace(KEY, key) + DATABASE)


def start(drill: Stage, run_id: str, *more: str) -> Child:
    return drill.dr("run", SCENARIO, "--site", "lab", "--run-id", run_id, *SANDBOX, *more)


def objects_of_the_original(drill: Stage) -> dict[str, Any]:
    """By kind and name: what nobody may write to."""
    found = {}
    for path in (
        "/api/v1/namespaces/production/services", "/api/v1/namespaces/production/configmaps",
        "/api/v1/namespaces/production/secrets", "/api/v1/namespaces/production/persistentvolumeclaims",
        "/apis/apps/v1/namespaces/production/deployments", "/apis/apps/v1/namespaces/production/statefulsets",
    ):  # fmt: skip
        for one in drill.world.api("GET", path)["items"]:
            found[f"{path}/{one['metadata']['name']}"] = {**one, "status": None}
    return found


def is_removed(drill: Stage) -> None:
    """Nothing of a sandbox is left, and no volume but the original's."""
    names = [n["metadata"]["name"] for n in drill.world.api("GET", "/api/v1/namespaces")["items"]]
    assert [n for n in names if n.startswith("sandbox-")] == []
    volumes = drill.world.api("GET", "/api/v1/persistentvolumes")["items"]
    assert {v["spec"]["claimRef"]["namespace"] for v in volumes} == {"production"}
    changes = drill.world.api("GET", "/api/v1/namespaces/velero/configmaps")["items"]
    assert [c for c in changes if c["metadata"]["name"].startswith("sandbox-")] == []


def bad(report: Report) -> list[str]:
    return [c.name for a in report.applications for c in a.checks if c.status is not CheckStatus.PASSED]


def test_everything_in_order(drill: Stage) -> None:
    """It passes without an outage, says what isolated the copy, and leaves the original and nothing else."""
    seed.back_up(drill.world, "orders-with-markers", drill.site.records)
    uid, before = drill.namespace_uid(), objects_of_the_original(drill)
    child = start(drill, "quiet")
    assert child.wait(90) == BACK, child.output[-4000:]
    report = drill.report("quiet")
    assert (report.verdict, report.ended, report.service) == ("passed", "finished", "back")
    assert (report.actual.rto_seconds, report.clocks.fault, report.actual.outage_seconds) == (None, None, 0)
    assert (report.objectives_met.rto, report.objectives_met.rpo) == (True, True)
    assert report.actual.rpo_seconds is not None
    assert "NetworkPolicy is not enforced here" in str(report.applications[0].isolated_by)
    assert str(report.applications[0].isolated_by).startswith("the application was not started")
    assert [u for u in report.unknown if "whether the application starts on the copy: none of it was started" in u]
    assert any(w.startswith("Coupon/welcome") for w in report.applications[0].weakly_checked)
    assert bad(report) == []
    assert objects_of_the_original(drill) == before
    drill.untouched(uid)
    is_removed(drill)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a file altered": ({"restore_files": {"invoices": {"terms.txt": "other"}}}, "volume:invoices terms.txt"),
    "a file missing": ({"restore_files": {"data-ledger-0": {"2026.ledger": None}}}, "volume:data-ledger-0 2026.ledger"),
    "volume lost": ({"lost_snapshots": ["invoices"]}, "volumes filled by Velero"),
    "secret gone": ({"restore_omits": ["secrets/orders"]}, "Secret/orders"),
    "scaled up": (
        {"restore_alters": [{"object": "deployments.apps/orders", "patch": {"spec": {"replicas": 2}}}]},
        "Deployment/orders spec.replicas",
    ),
    "network up": ({"network_leaks": True}, "reached from pod"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_copy(drill: Stage, wrong: str) -> None:
    """Not recovered, the difference is named; the original serves, and the copy is removed."""
    settings, named = WRONG[wrong]
    drill.site.file.write_text(
        drill.site.file.read_text().replace('sustain = "0.5 s"', 'sustain = "0.5 s"\nplan_a_within = "6 s"')
    )
    drill.world.set(**settings)
    child = start(drill, "wrong")
    assert child.wait(90) == NOT_RECOVERED, child.output[-4000:]
    report = drill.report("wrong")
    assert (report.verdict, report.service) == ("not_recovered", "back")
    assert [name for name in bad(report) if named in name], bad(report)
    is_removed(drill)


def test_original_touched_by_somebody(drill: Stage) -> None:
    """Whoever it was: the run can't say that the original was left alone."""
    fault = drill.world.fault("hang", method="POST", path="/restores$", user="runner")
    child = start(drill, "touched")
    drill.world.wait_until_held(fault, 40)
    drill.world.patch("/api/v1/namespaces/production/configmaps/orders", {"data": {"COLOR": "red"}})
    drill.world.release()
    assert child.wait(90) == NOT_RECOVERED, child.output[-4000:]
    assert [n for n in bad(drill.report("touched")) if "ConfigMap/orders" in n]
    is_removed(drill)


def test_name_taken(drill: Stage) -> None:
    """A namespace of that name that this run did not make is left alone, and nothing is restored into it."""
    drill.world.api("POST", "/api/v1/namespaces", {"metadata": {"name": "sandbox-taken"}})
    child = start(drill, "taken")
    assert child.wait(60) == REFUSED, child.output[-4000:]
    assert "did not make it" in child.output
    assert drill.world.find("/api/v1/namespaces/sandbox-taken") is not None


def test_policy_that_is_enforced(drill: Stage) -> None:
    """It is told by trial, not by the object."""
    drill.world.set(policies_enforced=True)
    child = start(drill, "policed")
    assert child.wait(90) == BACK, child.output[-4000:]
    assert "NetworkPolicy is enforced here, too" in str(drill.report("policed").applications[0].isolated_by)


def test_site_without_an_image(drill: Stage) -> None:
    """The key that is missing is named; nothing is made."""
    text = drill.site.file.read_text()
    drill.site.file.write_text(text.replace('sandbox = { image = "lab.local/busybox:1" }\n', ""))
    child = start(drill, "bare")
    assert child.wait(60) == REFUSED, child.output[-4000:]
    assert "applications.drills.sandbox" in child.output


def test_database_at_productions_address(drill: Stage) -> None:
    """An application that is tried would meet the original: refused before anything is made."""
    want_it_started(drill)
    child = start(drill, "met")
    assert child.wait(60) == REFUSED, child.output[-4000:]
    assert "127.0.0.1 is where localhost leads production's clients to" in child.output
    assert drill.world.find("/api/v1/namespaces/sandbox-met") is None


@pytest.mark.parametrize(("verb", "resource"), [("create", "pods"), ("create", "networkpolicies.networking.k8s.io")])
def test_right_taken_away(drill: Stage, verb: str, resource: str) -> None:
    """Refused before anything is made; the right and the role that grants it are named."""
    drill.world.deny(verb, resource)
    child = start(drill, "bound")
    assert child.wait(60) == REFUSED, child.output[-4000:]
    assert f"{verb} {resource}" in child.output
    assert "dr-runbooks-sandbox" in child.output
    is_removed(drill)


def kill_at(drill: Stage, run_id: str, is_there: Callable[[Entry], bool]) -> None:
    child = start(drill, run_id)
    drill.wait_for(run_id, child, is_there)
    child.kill()
    child.wait()


@pytest.mark.parametrize("after_work", [False, True], ids=["before it is done", "done, unanswered"])
@pytest.mark.parametrize("write", WRITES)
def test_killed_between_a_write_and_its_answer(drill: Stage, write: str, after_work: bool) -> None:
    """Resumed, it passes, does nothing twice, and leaves nothing."""
    method, path = WRITES[write]
    fault = drill.world.fault("hang", method=method, path=path, after_work=after_work, user="runner")
    child = start(drill, "killed")
    drill.world.wait_until_held(fault, 30)
    child.kill()
    child.wait()
    drill.world.release()
    resumed = drill.resume("killed")
    assert resumed.wait(90) == BACK, resumed.output[-4000:]
    report = drill.report("killed")
    assert (report.verdict, len(report.attempts)) == ("passed", 2)
    assert drill.world.repeated_writes() == []
    is_removed(drill)


def test_leftover_of_a_killed_run(drill: Stage) -> None:
    """The next one removes it with its volumes, and passes."""
    kill_at(drill, "dead", lambda e: e.kind == "done" and e.step == "sandbox.wait_until_hydrated")
    assert drill.world.find("/api/v1/namespaces/sandbox-dead") is not None
    drill.world.wait(lambda: _expire_lease(drill), "the lease")
    child = start(drill, "next", "--take-over")
    assert child.wait(90) == BACK, child.output[-4000:]
    assert "run dead left its sandbox sandbox-dead" in child.output
    is_removed(drill)


def test_leftover_without_its_namespace(drill: Stage) -> None:
    """A run died when only the list of its changes was left: the next one removes that, too; another's is kept."""
    where = "/api/v1/namespaces/velero/configmaps"
    for name, application in (("sandbox-dead", "orders"), ("sandbox-other", "shop")):
        labels = {"dr-runbooks/run": name.removeprefix("sandbox-"), "dr-runbooks/sandbox-of": application}
        drill.world.api("POST", where, {"metadata": {"name": name, "labels": labels}})
    child = start(drill, "next")
    assert child.wait(90) == BACK, child.output[-4000:]
    names = [c["metadata"]["name"] for c in drill.world.api("GET", where)["items"]]
    assert [n for n in names if n.startswith("sandbox-")] == ["sandbox-other"]


def _expire_lease(drill: Stage) -> bool:
    """As if its holder had been silent for longer than a lease lasts."""
    lease = "/apis/coordination.k8s.io/v1/namespaces/dr-runbooks/leases/orders"
    drill.world.patch(lease, {"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}})
    return True
