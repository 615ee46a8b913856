"""One process at a time works on an application, whatever the clocks of the hosts say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks.errors import Refused
from runbooks.journal import Journal
from runbooks.model import now
from runbooks.records import Impact, Mode
from tasks import evidence, leases, locks, object_store
from tasks.cases import Attempt, Case, Request
from tasks.locks import Held
from tests.fakes import fake_world, seed, site
from tests.fakes.fake_world import World
from tests.fakes.site import FakeSite

pytestmark = pytest.mark.slow
LEASES = "/apis/coordination.k8s.io/v1/namespaces/dr-runbooks/leases"
REQUEST = Request(scenario="namespace-deletion", site="lab", application="orders", mode=Mode.DRILL, impact=Impact.REAL)


@dataclass(frozen=True)
class Place:
    world: World
    site: FakeSite

    def case(self, run_id: str, *, take_over: bool = False) -> Case:
        """The next attempt of a run."""
        journal = Journal(self.site.site.evidence.directory / run_id / "journal.jsonl")
        journal.begin_attempt(host="here")
        request = REQUEST.model_copy(update={"application": self.site.site.applications[0].name})
        return Case(run_id, request, Attempt(take_over=take_over), self.site.site, journal)

    @contextmanager
    def elsewhere(self, case: Case, *, lives: bool, clock: timedelta = timedelta()) -> Iterator[None]:
        """Another host executes the run of this id, and its clock differs from ours by *clock*."""
        held = Held(run_id=case.run_id, host="another-host", pid=1, began=1, at=now())
        object_store.connect(case.site.evidence.store).put(_key(case), held.model_dump_json().encode())
        stamp = (now() + clock).isoformat().replace("+00:00", "Z")
        spec = {"holderIdentity": case.run_id, "renewTime": stamp, "acquireTime": stamp, "leaseDurationSeconds": 30}
        self.world.api("POST", LEASES, {"metadata": {"name": case.application.name}, "spec": spec})
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(case.application.name, clock, ended))
        if lives:
            renewing.start()
        yield
        ended.set()
        if lives:
            renewing.join()

    def _renew(self, name: str, clock: timedelta, ended: threading.Event) -> None:
        while not ended.wait(leases.RENEWED_EVERY.total_seconds()):
            stamp = (now() + clock).isoformat().replace("+00:00", "Z")
            self.world.patch(f"{LEASES}/{name}", {"spec": {"renewTime": stamp}})


def _key(case: Case) -> str:
    return locks.key(case.site, case.application.name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with fake_world.serve(tmp_path_factory.mktemp("world")) as made:
        seed.create(made, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dr-runbooks"}})
        yield made


def place_of(world: World, folder: Path, name: str) -> Place:
    """A place whose application has a lock of its own, so that several can wait at once."""
    made = site.write(folder / name, world)
    [application] = made.site.applications
    other = made.site.model_copy(update={"applications": (application.model_copy(update={"name": name}),)})
    return Place(world, replace(made, site=other))


def _alive_with_a_slow_clock(place: Place) -> None:
    """Its stamps are five minutes old, but it renews: not even --take-over takes it."""
    other = place.case("theirs")
    with place.elsewhere(other, lives=True, clock=timedelta(minutes=-5)), pytest.raises(Refused) as refused:
        locks.acquire(place.case("ours", take_over=True))
    assert "run theirs works on slow (its lease is being renewed)" in refused.value.problem


def _dead_with_a_fast_clock(place: Place) -> None:
    """Its stamps lie five minutes ahead, but nothing moves: another host goes on with the run, and the dead one woken
    up again changes nothing more."""
    first = place.case("moved")
    with place.elsewhere(first, lives=False, clock=timedelta(minutes=5)):
        locks.acquire(first)
    old = first.lease
    assert old is not None
    old._ended.set()  # stopped, as by SIGSTOP: it renews no more
    leases.take(first.cluster, "fast", "moved")  # the next host
    old._renewed -= leases.ASKED_AFTER.total_seconds()
    old._asked = old._renewed
    with pytest.raises(Refused) as refused:
        first.write("delete everything", kind="Namespace", name="production")
    assert "another process took over" in refused.value.hint
    assert not any(first.journal.of("write"))
    assert not first.may_send()


def _same_run_alive_elsewhere(place: Place) -> None:
    """A run that is being executed on another host is not executed here, too, though it has the same id."""
    case = place.case("same")
    with place.elsewhere(case, lives=True), pytest.raises(Refused) as refused:
        locks.acquire(case)
    assert "run same works on twin (its lease is being renewed)" in refused.value.problem
    locks.release(case)
    stored = object_store.connect(case.site.evidence.store).get(_key(case))
    assert stored is not None
    assert Held.model_validate_json(stored.body).run_id == "same", "it is not ours to release"


def test_hosts_whose_clocks_differ(world: World, tmp_path: Path) -> None:
    """Who is alive is proven by watching; what one of them does after it was taken over is refused."""
    cases = {"slow": _alive_with_a_slow_clock, "fast": _dead_with_a_fast_clock, "twin": _same_run_alive_elsewhere}
    with ThreadPoolExecutor(len(cases)) as pool:
        running = [pool.submit(check, place_of(world, tmp_path, name)) for name, check in cases.items()]
        for one in running:
            one.result()


def test_taken_at_the_same_moment(world: World, tmp_path: Path) -> None:
    """Of ten that start in the same second one holds the lock, and each of the others is told so."""
    place = place_of(world, tmp_path, "rush")
    runs = [place.case(f"run-{number}") for number in range(10)]
    start = threading.Barrier(len(runs))

    def begin(case: Case) -> str | None:
        start.wait()
        try:
            locks.acquire(case)
        except Refused as error:
            return error.problem
        return None

    with ThreadPoolExecutor(len(runs)) as pool:
        told = list(pool.map(begin, runs))
    assert told.count(None) == 1
    assert all("at the same moment" in one or "works on rush" in one for one in told if one is not None)
    locks.release(runs[told.index(None)])


def test_copy_that_another_host_went_on_with(world: World, tmp_path: Path) -> None:
    """What is in the store goes on from here: it is taken; both went on: ours is laid beside. Nothing is lost."""
    place = place_of(world, tmp_path, "copy")
    case = place.case("copied")
    evidence.send_all(case.site, "copied", case.directory)
    behind = case.journal.path.read_bytes()
    case.event("on the other host")
    ahead = case.journal.content()
    object_store.connect(case.site.evidence.store).put("runs/copied/journal.jsonl", ahead)
    case.journal.path.write_bytes(behind)
    evidence.fetch(case.site, "copied")
    assert case.journal.path.read_bytes() == ahead
    case.journal.path.write_bytes(behind)
    mine = place.case("copied").journal.content()
    evidence.fetch(case.site, "copied")
    assert case.journal.path.read_bytes() == ahead
    kept = [one.read_bytes() for one in case.directory.parent.glob(".copied-beside-*/journal.jsonl")]
    assert mine in kept


def test_evidence_that_could_not_be_sent(world: World, tmp_path: Path) -> None:
    """It is kept, and sent later; but no run that is being executed, and none that another host went on with."""
    place = place_of(world, tmp_path, "late")
    store = Path(place.site.site.evidence.store.url.removeprefix("file://"))
    unsent, running, other = (place.case(name) for name in ("unsent", "running", "other"))
    for case in (unsent, running, other):
        case.journal.append("event", text="while the store was away")
        evidence.begin(case.directory)
    (store / "runs" / "other").mkdir(parents=True)
    (store / "runs" / "other" / "journal.jsonl").write_bytes(other.journal.content() + b"{}\n")
    with evidence._alone(running.directory) as is_free:
        assert is_free
        assert evidence.send_left_over(place.site.site) == ["unsent"]
    assert (store / "runs" / "unsent" / "journal.jsonl").read_bytes() == unsent.journal.content()
    assert not (store / "runs" / "running" / evidence.HELD).exists()
    assert (store / "runs" / "other" / "journal.jsonl").read_bytes().endswith(b"{}\n")
    assert evidence.send_left_over(place.site.site) == ["running"]


def test_left_by_a_run_that_has_ended(world: World, tmp_path: Path) -> None:
    """API server and store were away when it ended: its lock is taken, without asking anybody."""
    place = place_of(world, tmp_path, "left")
    before = place.case("over")
    with place.elsewhere(before, lives=False, clock=timedelta(minutes=-5)):
        with pytest.raises(Refused, match="run over holds left"):
            locks.acquire(place.case("too-early"))
        before.journal.append("ended", ended="finished", service="back", reason=None)
        after = place.case("next")
        locks.acquire(after)
    assert any("run over has ended" in str(e.data["text"]) for e in after.journal.of("event"))
    locks.release(after)
