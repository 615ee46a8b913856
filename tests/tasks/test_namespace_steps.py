"""The steps that break, restore and open, one by one, on a world that goes wrong between them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runbooks.errors import NotRecovered, Refused, Unavailable
from runbooks.journal import Journal
from runbooks.records import Impact, Mode
from tasks import cluster_state, disasters, gate, namespaces, protection, rights, velero
from tasks.cases import Attempt, Case, Request
from tests.fakes import furnished, seed, site
from tests.fakes.fake_world import World
from tests.fakes.site import FakeSite

pytestmark = pytest.mark.slow

PRODUCTION = "/api/v1/namespaces/production"
VELERO = "/apis/velero.io/v1/namespaces/velero"
SOON = timedelta(seconds=2)
REQUEST = Request(scenario="namespace-deletion", site="lab", application="orders", mode=Mode.DRILL, impact=Impact.REAL)


@dataclass
class Place:
    world: World
    site: FakeSite

    def case(self, run_id: str = "test") -> Case:
        """A run, or its next attempt."""
        journal = Journal(self.site.site.evidence.directory / run_id / "journal.jsonl")
        journal.begin_attempt(host="here")
        return Case(run_id, REQUEST, Attempt(), self.site.site, journal)

    def prepared(self) -> Case:
        case = self.case()
        cluster_state.record_before(case)
        velero.choose_backup(case)
        velero.prove_coverage(case)
        return case

    def broken(self) -> Case:
        case = self.prepared()
        disasters.delete_namespace(case)
        return case

    def uid(self) -> str | None:
        found = self.world.find(PRODUCTION)
        return None if found is None else str(found["metadata"]["uid"])

    def writes(self, method: str, ending: str) -> int:
        return sum(w.method == method and w.path.endswith(ending) for w in self.world.writes())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with furnished.serve(tmp_path / "world") as (world, backup):
        made = site.write(tmp_path / "site", world)
        seed.record(backup, made.records)
        yield Place(world, made)


def hurry(case: Case, phase: str) -> None:
    """Only two seconds are left for *phase*."""
    two = {"budget_seconds": SOON.total_seconds()}
    phases = tuple(p.model_copy(update=two) if p.name == phase else p for p in case.document.phases)
    case.document = case.document.model_copy(update={"phases": phases})


# -- break ------------------------------------------------------------------------------------------------------------


def recreate(place: Place) -> None:
    place.world.api("DELETE", PRODUCTION)
    place.world.wait(lambda: place.world.find(PRODUCTION) is None, "its end")
    body = {"metadata": {"name": "production", "labels": {"dr-runbooks/drill": "allowed"}}}
    place.world.api("POST", "/api/v1/namespaces", body)


def remove_label(place: Place) -> None:
    place.world.patch(PRODUCTION, {"metadata": {"labels": {"dr-runbooks/drill": None}}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (recreate, "the drill was planned for"),
        (remove_label, "has no label dr-runbooks/drill=allowed; nothing was deleted"),
    ],
)
def test_changed_since_the_plan(place: Place, change: Any, said: str) -> None:
    """Refused before the fault: no clock, no write intent, and the namespace that is there lives."""
    case = place.prepared()
    change(place)
    uid = place.uid()
    with pytest.raises(Refused, match=said):
        disasters.delete_namespace(case)
    assert (place.uid(), case.clock_of("fault"), case.has_changed_target()) == (uid, None, False)


def test_deleted_by_somebody_else_at_that_moment(place: Place) -> None:
    """Between our last look and our blow: it is not our fault, and the drill does not go on as if it were."""
    case = place.prepared()
    held = place.world.fault("hang", method="GET", path="/namespaces/production$", user="runner", skip=1)
    with ThreadPoolExecutor() as pool:
        step = pool.submit(disasters.delete_namespace, case)
        place.world.wait_until_held(held)
        place.world.api("DELETE", PRODUCTION)
        place.world.release()
        with pytest.raises(Refused, match="nothing was deleted"):
            step.result()
    assert (case.clock_of("fault"), place.writes("DELETE", "/namespaces/production")) == (None, 0)


def test_rights_that_are_missing(place: Place) -> None:
    """Asked for before anything is changed, all at once."""
    case = place.case()
    rights.must_be_granted(case)
    place.world.deny("delete", "namespaces")
    place.world.deny("create", "restores.velero.io")
    with pytest.raises(Refused, match=r"may not: create restores\.velero\.io in namespace velero, delete namespaces"):
        rights.must_be_granted(case)
    assert place.world.writes() == []


def test_one_delete_and_no_other(place: Place) -> None:
    """The only DELETE that the step sends is the blow itself, after its intent and its clock; no rehearsal.

    A DELETE with a body ignores `?dryRun=All` on a real API server: it deletes.
    """
    case = place.broken()
    assert place.writes("DELETE", "/namespaces/production") == 1
    assert not [r for r in place.world.requests() if r.method == "DELETE" and r.dry_run]
    [intent] = [e for e in case.journal.of("write") if e.step == "disasters.delete_namespace"]
    [clock] = [e for e in case.journal.of("clock") if e.data["name"] == "fault"]
    assert intent.seq < clock.seq


def test_killed_before_the_delete_was_sent(place: Place) -> None:
    """Clock and intent are there, the namespace is, too: the next attempt deletes it, and keeps the first clock."""
    first = place.prepared()
    first.write("delete namespace production")
    fault = first.clock("fault")
    again = place.case()
    disasters.delete_namespace(again)
    assert place.uid() is None
    assert again.clock_of("fault") is not None
    assert abs((again.clock("fault") - fault).total_seconds()) < 0.001


def test_killed_while_it_was_terminating(place: Place) -> None:
    """The next attempt waits for the end and deletes nothing a second time."""
    place.world.set(termination_seconds=1.5)
    case = place.prepared()
    case.clock("fault")
    place.world.api("DELETE", PRODUCTION)
    disasters.delete_namespace(place.case())
    assert place.uid() is None
    assert place.writes("DELETE", "/namespaces/production") == 0


def test_answer_to_the_delete_is_lost(place: Place) -> None:
    """The world says that it was heard."""
    case = place.prepared()
    fault = place.world.fault("close", method="DELETE", path="/namespaces/production$", after_work=True)
    disasters.delete_namespace(case)
    assert (place.uid(), place.world.hits(fault)) == (None, 1)


def test_somebody_makes_it_again(place: Place) -> None:
    """After the fault another namespace of that name is neither deleted nor taken for ours."""
    case = place.prepared()
    case.clock("fault")
    recreate(place)
    uid = place.uid()
    with pytest.raises(NotRecovered, match="somebody made it again"):
        disasters.delete_namespace(case)
    assert place.uid() == uid


def test_set_aside_of_another_namespace(place: Place) -> None:
    """The net clears away what the run's own restore left, never what somebody else made meanwhile."""
    case = place.broken()
    body = {"metadata": {"name": "production"}}
    place.world.api("POST", "/api/v1/namespaces", body)
    service = {"metadata": {"name": "theirs"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
    place.world.api("POST", f"{PRODUCTION}/services", service)
    uid = place.uid()
    with pytest.raises(Refused, match="was not restored by run test; it is kept"):
        disasters.set_aside(case, "production")
    assert place.uid() == uid


def test_set_aside_of_the_original(place: Place) -> None:
    """It is kept, whatever went wrong."""
    case = place.prepared()
    with pytest.raises(Refused, match="is still the original"):
        disasters.set_aside(case, "production")


def test_set_aside_after_a_restore(place: Place) -> None:
    """What the run itself restored may go."""
    case = place.broken()
    velero.restore(case)
    disasters.set_aside(case, "production")
    assert place.uid() is None


# -- restore ----------------------------------------------------------------------------------------------------------


def test_restore_over_a_living_volume(place: Place) -> None:
    """Velero would write old files over new ones and say Completed."""
    case = place.prepared()
    with pytest.raises(Refused, match="has bound volumes: data-ledger-0, invoices; nothing was restored over them"):
        velero.restore(case)
    assert place.writes("POST", "/restores") == 0


def test_restore_of_the_original(place: Place) -> None:
    """A drill that did not delete the namespace restores nothing."""
    case = place.prepared()
    case.clock("fault")
    with pytest.raises(Refused, match="is still the one of the plan"):
        velero.restore(case)


def test_answer_to_the_restore_is_lost(place: Place) -> None:
    """It was made, so it is followed; one Restore, one ConfigMap."""
    case = place.broken()
    place.world.fault("close", method="POST", path="/restores$", after_work=True)
    assert velero.restore(case).phase == "Completed"
    assert (place.writes("POST", "/restores"), place.writes("POST", "/configmaps")) == (1, 1)


def test_killed_after_the_restore_was_made(place: Place) -> None:
    """The next attempt adopts it."""
    case = place.broken()
    place.world.fault("hang", method="POST", path="/restores$", after_work=True, seconds=0)
    velero.restore(case)
    again = place.case("test")
    again.journal.entries[:] = [e for e in again.journal.entries if e.step != "velero.restore"]
    assert velero.restore(again).phase == "Completed"
    assert place.writes("POST", "/restores") == 1


def test_restore_of_another_backup_under_our_name(place: Place) -> None:
    """It is not adopted."""
    seed.back_up(place.world, "orders-second", place.site.records)
    case = place.case()
    cluster_state.record_before(case)
    velero.choose_backup(case)
    disasters.delete_namespace(case)
    body = {
        "metadata": {"name": "restore-test", "labels": {"dr-runbooks/run": "test"}},
        "spec": {"backupName": "orders-first"},
    }
    place.world.api("POST", f"{VELERO}/restores", body)
    with pytest.raises(Refused, match="restores backup orders-first, the plan says orders-second"):
        velero.restore(case)


def test_restore_that_somebody_else_made(place: Place) -> None:
    """A name is no proof; the label is."""
    case = place.broken()
    body = {"metadata": {"name": "restore-test"}, "spec": {"backupName": "orders-first"}}
    place.world.api("POST", f"{VELERO}/restores", body)
    with pytest.raises(Refused, match="exists, and run test did not make it"):
        velero.restore(case)


@pytest.mark.parametrize("phase", ["Failed", "FailedValidation"])
def test_restore_that_fails(place: Place, phase: str) -> None:
    """It ends the wait at once, with Velero's own reason."""
    case = place.broken()
    place.world.set(restore_phase=phase)
    with pytest.raises(NotRecovered, match=f"Restore restore-test ended in {phase}: .*restore_phase") as raised:
        velero.restore(case)
    assert "empty volumes" in raised.value.hint


def test_restore_that_fails_partly(place: Place) -> None:
    """That is for the validation to judge; its reasons are a finding and among the evidence."""
    case = place.broken()
    place.world.set(restore_phase="PartiallyFailed")
    assert velero.restore(case).phase == "PartiallyFailed"
    [finding] = case.journal.of("finding")
    assert "as the setting restore_phase says" in str(finding.data["problem"])
    assert (case.directory / "restore.log").exists()


def test_restore_that_hangs(place: Place) -> None:
    """Plan A has a deadline."""
    case = place.broken()
    place.world.set(restore_phase="InProgress")
    case.application = case.application.model_copy(update={"plan_a_within": SOON})
    with pytest.raises(NotRecovered, match="Restore restore-test did not end within"):
        velero.restore(case)


def test_namespace_made_again_by_somebody(place: Place) -> None:
    """An empty one is restored into, and named: a controller may fight the restore."""
    case = place.broken()
    place.world.api("POST", "/api/v1/namespaces", {"metadata": {"name": "production"}})
    velero.restore(case)
    assert [e.data["check"] for e in case.journal.of("finding")] == ["namespace made again"]


# -- open -------------------------------------------------------------------------------------------------------------


def selector(place: Place) -> dict[str, str]:
    found: dict[str, str] = place.world.api("GET", f"{PRODUCTION}/services/orders")["spec"]["selector"]
    return found


def test_gate(place: Place) -> None:
    """Closed after the restore, opened with endpoints behind it, closed again; twice does no harm."""
    case = place.broken()
    velero.restore(case)
    assert selector(place) == {"app": "orders", "dr-runbooks/gate": "closed"}
    cluster_state.wait_until_ready(case)
    gate.open(case)
    assert selector(place) == {"app": "orders"}
    gate.open_all(case)
    gate.close(case)
    gate.close(case)
    assert selector(place) == {"app": "orders", "dr-runbooks/gate": "closed"}
    assert place.writes("PATCH", "/services/orders") == 2


def test_gate_without_pods_behind_it(place: Place) -> None:
    """Letting clients in to nobody is not recovered."""
    case = place.broken()
    velero.restore(case)
    place.world.patch("/apis/apps/v1/namespaces/production/deployments/orders", {"spec": {"replicas": 0}})
    pods = f"{PRODUCTION}/pods?labelSelector=app%3Dorders"
    place.world.wait(lambda: not place.world.api("GET", pods)["items"], "their end")
    hurry(case, "validate")
    with pytest.raises(NotRecovered, match=r"ready endpoints of Service production/orders: not within \S+ s; last"):
        gate.open(case)


def test_pods_that_do_not_come_up(place: Place) -> None:
    """The reason that the pods give is in the error."""
    case = place.broken()
    velero.restore(case)
    orders = "/apis/apps/v1/namespaces/production/deployments/orders"
    place.world.set(unpullable="orders:nope")
    containers = place.world.api("GET", orders)["spec"]["template"]["spec"]["containers"]
    containers[0]["image"] = "lab.local/orders:nope"
    place.world.patch(orders, {"spec": {"replicas": 4, "template": {"spec": {"containers": containers}}}})
    with pytest.raises(NotRecovered, match=r"Deployment production/orders: .*(ErrImage|ImagePull)"):
        cluster_state.wait_for_workloads(case, within=SOON)


# -- protected again --------------------------------------------------------------------------------------------------


def test_protected_again(place: Place) -> None:
    """A backup as the schedule would take it."""
    protection.check(place.prepared())
    after = place.world.api("GET", f"{VELERO}/backups/after-test")
    assert after["status"]["phase"] == "Completed"
    assert after["metadata"]["labels"]["velero.io/schedule-name"] == "orders-15m"
    assert after["spec"]["includedNamespaces"] == ["production"]


def test_not_protected_again(place: Place) -> None:
    """Everything that is missing is named at once."""
    case = place.prepared()
    place.world.patch(f"{VELERO}/schedules/orders-15m", {"spec": {"paused": True}})
    place.world.api("DELETE", f"{VELERO}/schedules/orders-6h")
    place.world.set(backup_phase="Failed")
    with pytest.raises(NotRecovered) as raised:
        protection.check(case)
    for said in ("schedule orders-15m is paused", "schedule orders-6h does not exist", "after-test ended in Failed"):
        assert said in raised.value.problem


def test_velero_is_away(place: Place) -> None:
    """A backup cannot be chosen when nobody could restore it."""
    place.world.patch("/apis/apps/v1/namespaces/velero/deployments/velero", {"spec": {"replicas": 0}})
    case = place.case()
    cluster_state.record_before(case)
    place.world.wait(
        lambda: (
            not place.world.api("GET", "/apis/apps/v1/namespaces/velero/deployments/velero")["status"].get(
                "availableReplicas"
            )
        ),
        "its end",
    )
    with pytest.raises(Refused, match="Velero is not at work in namespace velero: Deployment velero"):
        velero.choose_backup(case)


def test_object_store_is_slow_to_answer(place: Place) -> None:
    """What is in the backup cannot be known: nothing is broken for it."""
    place.world.fault("status", server="downloads", method="GET", path="/velero/", status=503, times=None)
    case = place.case()
    hurry(case, "prepare")
    case.enter("prepare")
    cluster_state.record_before(case)
    with pytest.raises(Unavailable, match="BackupContents of orders-first: the object store answered 503"):
        velero.choose_backup(case)


def test_finalizer_of_somebody_else(place: Place) -> None:
    """Told before anybody approves; a namespace that cannot go is no success, and what holds it is named."""
    place.world.patch(f"{PRODUCTION}/configmaps/orders", {"metadata": {"finalizers": ["shop.example/guard"]}})
    case = place.case()
    cluster_state.record_before(case)
    told = [str(e.data["problem"]) for e in case.journal.of("finding")]
    assert any("ConfigMap/orders (shop.example/guard)" in one for one in told), told
    uid = place.uid()
    place.world.api("DELETE", PRODUCTION)
    with case.connect() as api, pytest.raises(NotRecovered, match=r"shop\.example/guard"):
        namespaces.wait_until_gone(api, "production", str(uid), within=SOON)
