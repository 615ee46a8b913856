"""Whatever is wrong before the break: refused, with a hint, and the namespace is as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks.model import now
from runbooks.records import Impact, Mode
from tasks import clean_up, locks, preconditions, running
from tasks.cases import Attempt, Request
from tests.drills.stage import DRILL, SCENARIO, Stage
from tests.fakes import seed

REFUSED = 3
NAMESPACE = "/api/v1/namespaces/production"


def is_refused(drill: Stage, *says: str, run_id: str = "bad", argv: tuple[str, ...] = ()) -> None:
    """The drill is refused for the reason that the texts tell, and nothing was deleted."""
    uid = drill.namespace_uid()
    child = drill.start(run_id, *argv)
    assert child.wait() == REFUSED, child.output[-4000:]
    assert "HINT: " in child.output
    for text in says:
        assert text in child.output
    if uid is not None:
        drill.untouched(uid)
    if (drill.evidence(run_id) / "report.json").exists():
        assert drill.report(run_id).verdict == "refused"


def test_unknown_site(drill: Stage) -> None:
    """The known ones are named."""
    child = drill.dr("run", SCENARIO, "--site", "labb", *DRILL)
    assert child.wait() == REFUSED
    assert "there is no site 'labb'; known: lab" in child.output


def test_unknown_application(drill: Stage) -> None:
    """Those of the site are named."""
    is_refused(drill, "no application 'order'", "it has: orders", argv=("--application", "order"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("namespaces =", "namespace =", "namespaces"),
        ("[observer]", "[observr]", "observer"),
        ('sustain = "0.5 s"', "sustain = 'soon'", "sustain"),
        ('hmac_key = "', '# hmac_key = "', "hmac_key"),
        ("port = 8080", 'port = "http"', "port"),
        ('home = "a"', 'home = "c"', "home"),
        ("[[regions]]", "[[regions]", "TOML"),
    ],
)
def test_wrong_site_file(drill: Stage, old: str, new: str, says: str) -> None:
    """A misspelt, missing or wrongly typed key: the file and the key are named."""
    text = drill.site.file.read_text()
    assert old in text
    drill.site.file.write_text(text.replace(old, new))
    is_refused(drill, str(drill.site.file), says)


@pytest.mark.parametrize("pin", ["uid", "ca_sha256"])
def test_another_cluster_behind_the_context(drill: Stage, pin: str) -> None:
    """The pins in the site file are not those of the cluster that answers."""
    text = drill.site.file.read_text()
    value = drill.world.cluster_uid if pin == "uid" else drill.world.ca_sha256
    drill.site.file.write_text(text.replace(value, value[::-1]))
    is_refused(drill, "nother cluster", "dr site pin")


def test_namespace_without_label(drill: Stage) -> None:
    """Its owner did not allow drills."""
    drill.world.patch(NAMESPACE, {"metadata": {"labels": {preconditions.LABEL: None}}})
    is_refused(drill, f"has no label {preconditions.LABEL}=allowed")


def test_namespace_missing(drill: Stage) -> None:
    """There is nothing to break: is it an incident?"""
    drill.world.api("DELETE", NAMESPACE)
    drill.world.wait(lambda: drill.namespace_uid() is None, "the namespace gone")
    is_refused(drill, "namespace production does not exist")


def test_namespace_recreated_since_the_plan(drill: Stage) -> None:
    """It is another one by now, whatever its name."""
    drill.world.fault("hang", method="POST", path="/backups$", user="runner")
    child = drill.start("bad")
    drill.wait_for("bad", child, lambda e: e.kind == "intent" and e.step == "net.cast")
    drill.world.api("DELETE", NAMESPACE)
    drill.world.wait(lambda: drill.namespace_uid() is None, "the namespace gone")
    seed.application(drill.world)
    uid = drill.namespace_uid()
    drill.world.release()
    assert child.wait() == REFUSED, child.output[-4000:]
    drill.untouched(uid)
    assert drill.report("bad").verdict == "refused"


def _no_backup(drill: Stage) -> None:
    for backup in drill.world.api("GET", "/apis/velero.io/v1/namespaces/velero/backups")["items"]:
        drill.world.api("DELETE", f"/apis/velero.io/v1/namespaces/velero/backups/{backup['metadata']['name']}")


def _only_failed(drill: Stage) -> None:
    _no_backup(drill)
    drill.world.set(backup_phase="Failed")
    seed.back_up(drill.world, "orders-failed", drill.site.records)
    drill.world.set(backup_phase="Completed")


def _only_expired(drill: Stage) -> None:
    past = (now() - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    drill.world.patch("/apis/velero.io/v1/namespaces/velero/backups/orders-first", {"status": {"expiration": past}})


def _only_uncovered(drill: Stage) -> None:
    _no_backup(drill)
    drill.world.set(backup_omits_claims=["invoices"])
    seed.back_up(drill.world, "orders-half", drill.site.records)
    drill.world.set(backup_omits_claims=[])


def _lacks_an_object(drill: Stage) -> None:
    """As a real one does around a change of its definition: Completed, and no word about it."""
    _no_backup(drill)
    drill.world.set(backup_omits=["configmaps/orders"], backup_seconds=2.5)
    seed.back_up(drill.world, "orders-lacking")
    record = drill.site.records / "orders-lacking.json"
    drill.world.wait(record.exists, "the observer's record of it", 30)


def _location_away(drill: Stage) -> None:
    drill.world.set(location_phase="Unavailable")
    where = "/apis/velero.io/v1/namespaces/velero/backupstoragelocations/default"
    drill.world.wait(lambda: drill.world.api("GET", where)["status"]["phase"] == "Unavailable", "the location away")


def _velero_down(drill: Stage) -> None:
    drill.world.patch("/apis/apps/v1/namespaces/velero/deployments/velero", {"spec": {"replicas": 0}})


def _node_agent_gone(drill: Stage) -> None:
    drill.world.api("DELETE", "/apis/apps/v1/namespaces/velero/daemonsets/node-agent")


def _no_manifest(drill: Stage) -> None:
    for record in drill.site.records.iterdir():
        record.unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_backup, "backup"),
        (_only_failed, "Failed"),
        (_only_expired, "expire"),
        (_only_uncovered, "invoices"),
        (_lacks_an_object, "production: ConfigMap/orders (seen present, held missing)"),
        (_location_away, "Unavailable"),
        (_velero_down, "velero"),
        (_node_agent_gone, "node-agent"),
        (_no_manifest, "manifest"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_nothing_to_restore_from(drill: Stage, spoil: Callable[[Stage], None], says: str) -> None:
    """No backup, only bad ones, or nobody there who could restore it."""
    spoil(drill)
    is_refused(drill, says)


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "namespaces"),
        ("list", "backups.velero.io"),
        ("create", "backups.velero.io"),
        ("create", "downloadrequests.velero.io"),
        ("create", "leases.coordination.k8s.io"),
        ("patch", "persistentvolumes"),
        ("delete", "namespaces"),
        ("list", "persistentvolumeclaims"),
    ],
)
def test_no_right_for_a_call(drill: Stage, verb: str, resource: str) -> None:
    """The right that is missing is named."""
    drill.world.deny(verb, resource)
    is_refused(drill, resource.partition(".")[0])


def test_evidence_directory_not_writable(drill: Stage) -> None:
    """A run that leaves no evidence is not started. A file is in the way: root may write anywhere else."""
    drill.site.site.evidence.directory.parent.mkdir(parents=True, exist_ok=True)
    drill.site.site.evidence.directory.write_text("in the way")
    is_refused(drill, "evidence cannot be written")


def test_evidence_store_not_writable(drill: Stage) -> None:
    """A drill whose evidence cannot leave the machine is not started."""
    store = Path(drill.site.site.evidence.store.url.removeprefix("file://"))
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text("in the way")
    is_refused(drill, str(store))


def test_second_run_at_the_same_time(drill: Stage) -> None:
    """The one that holds the lock is named; it goes on undisturbed."""
    drill.world.set(restore_seconds=3)
    first = drill.start("first")
    drill.wait_for("first", first, lambda e: e.kind == "intent" and e.step == "velero.restore")
    second = drill.start("second")
    assert second.wait() == REFUSED, second.output[-2000:]
    assert "run first works on orders" in second.output
    assert drill.report("second").verdict == "refused"
    assert first.wait() == 0, first.output[-2000:]


def test_same_run_started_twice(drill: Stage) -> None:
    """The second start writes nothing to the run."""
    drill.world.set(restore_seconds=3)
    first = drill.start("twice")
    drill.wait_for("twice", first, lambda e: e.kind == "intent" and e.step == "velero.restore")
    second = drill.resume("twice")
    assert second.wait() == REFUSED
    assert f"run twice is being executed by process {first.pid} of host" in second.output
    assert first.wait() == 0
    assert len(drill.report("twice").attempts) == 1


def test_after_a_killed_run(drill: Stage) -> None:
    """A dead run keeps its lock until it is gone on with, or taken over."""
    child = drill.start("dead")
    drill.wait_for("dead", child, lambda e: e.kind == "done" and e.step == "velero.choose_backup")
    child.kill()
    child.wait()
    is_refused(drill, "run dead", run_id="next")


def test_same_run_id_with_other_parameters(drill: Stage) -> None:
    """Refused, and nothing is written to the run."""
    child = drill.start("same")
    drill.wait_for("same", child, lambda e: e.kind == "done" and e.step == "velero.choose_backup")
    child.kill()
    child.wait()
    before = (drill.evidence("same") / "journal.jsonl").read_bytes()
    other = drill.start("same", "--backup", "another")
    assert other.wait() == REFUSED
    assert "other parameters" in other.output
    assert "another" in other.output
    assert (drill.evidence("same") / "journal.jsonl").read_bytes() == before


def test_overdue(drill: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduled drill that is executed 20 minutes late surprises people."""
    monkeypatch.setenv("DR_LAB_ROOT", str(drill.site.file.parent))
    request = Request(scenario=SCENARIO, site="lab", application="orders", mode=Mode.DRILL, impact=Impact.REAL)
    uid = drill.namespace_uid()
    with running.open("overdue", request, Attempt(due_at=now() - timedelta(minutes=20)), clean_up.NAMESPACE) as case:
        locks.acquire(case)
        preconditions.check(case)
    report = json.loads((drill.evidence("overdue") / "report.json").read_text())
    assert report["verdict"] == "refused"
    failed = next(e for e in drill.journal("overdue") if e.kind == "failed")
    assert "20 min" in str(failed.data["problem"])
    drill.untouched(uid)


def test_loss_not_accepted(drill: Stage) -> None:
    """The backup is older than what anybody accepted to lose."""
    is_refused(drill, "accepted: 0 s", argv=("--accept-loss", "0 s"))


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ('scenarios = ["namespace-deletion"]', "allows orders no drill of"),
        ('impacts = ["real"]', "no drill with impact real"),
    ],
)
def test_site_does_not_allow_it(drill: Stage, rules: str, says: str) -> None:
    """A drill breaks only what the site file says it may."""
    name = rules.partition(" ")[0]
    other = 'impacts = ["sandbox"]' if name == "impacts" else "scenarios = []"
    drill.site.file.write_text(drill.site.file.read_text().replace(rules, other))
    is_refused(drill, says)


def test_application_is_red(drill: Stage) -> None:
    """A drill begins in good order."""
    drill.world.set(database_up=False)
    is_refused(drill, "orders is red")
