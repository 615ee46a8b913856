"""The resident observer, as a process: what it writes down is what downtime and loss are measured with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from runbooks import site as sites
from runbooks.errors import Refused
from runbooks.model import now
from runbooks.records import Marker, Sample
from tasks import losses, observer, probes, run_observer
from tasks.cases import Case
from tests import programs
from tests.tasks.cases import case_of
from tests.tasks.outside import Application, Names, application, name_server, until

pytestmark = pytest.mark.slow

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
SITE = """
name = "lab"
[[regions]]
name = "a"
cluster = {{ kubeconfig = "{folder}/none", uid = "none", ca_sha256 = "none" }}
backups = {{ url = "file://{folder}/bucket" }}
[dns]
server = "{dns}"
[[applications]]
name = "orders"
home = "a"
namespaces = ["production"]
sustain = "2 s"
[[applications.probes]]
name = "health"
url = "{url}/health"
json = {{ status = "UP" }}
[[applications.probes]]
name = "order"
url = "{url}/orders/12345"
json = {{ customer = "ACME" }}
[[applications.markers]]
store = "rows:orders"
write = "{url}/markers/rows"
read = "{url}/markers/rows"
[[applications.markers]]
store = "volume:invoices"
write = "{url}/markers/volume"
read = "{url}/markers/volume"
[[applications.files]]
claim = "invoices"
namespace = "production"
selector = "app=orders"
container = "orders"
path = "/data"
[[databases]]
name = "orders"
host = "127.0.0.1"
database = "orders"
user = "orders"
password = "env:DR_TEST_NOT_SET"
[evidence]
directory = "{folder}/evidence"
hmac_key = "env:DR_TEST_NOT_SET"
[evidence.store]
url = "file://{folder}/store"
"""


@dataclass
class Watched:
    """A site with an application to look at, and the observer's files."""

    folder: Path
    app: Application
    names: Names

    @property
    def files(self) -> Path:
        return self.folder / "observer"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "DR_LAB_ROOT": str(self.folder), "PYTHONPATH": str(ROOT)}

    @contextmanager
    def observed(self) -> Iterator[None]:
        """In a thread of the test."""
        stop, site = threading.Event(), sites.read(self.folder / "site.toml", "lab")
        thread = threading.Thread(target=observer.observe, args=(site, stop))
        thread.start()
        try:
            self.wait(lambda _: True)
            yield
        finally:
            stop.set()
            thread.join()

    @contextmanager
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        """By `dr observe` in a process of its own; killed in the end, if it still runs."""
        command = [sys.executable, "-m", "deployments.cli", "observe", "--site", "lab"]
        known, log = len(self.samples()), self.folder / "log"
        with programs.running(
            command, log=log, is_ready=lambda: len(self.samples()) > known, seconds=30, cwd=ROOT, env=self.environment
        ) as process:
            yield process

    def samples(self) -> list[Sample]:
        return _read(self.files / "samples.jsonl", Sample.model_validate_json)

    def markers(self, store: str) -> list[Marker]:
        found = _read(self.files / "markers.jsonl", Marker.model_validate_json)
        return [m for m in found if m.store.startswith(store)]

    def read_backs(self) -> list[losses.ReadBack]:
        return _read(self.files / "read-backs.jsonl", losses.ReadBack.model_validate_json)

    def wait(self, look: Callable[[Sample], bool]) -> Sample:
        """For a new sample that *look* accepts."""
        known = len(self.samples())
        found: list[Sample] = until(lambda: [s for s in self.samples()[known:] if look(s)], 30)
        return found[0]


def _read(path: Path, parse: Callable[[str], T]) -> list[T]:
    text = path.read_text() if path.exists() else ""
    return [parse(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with application() as app, name_server({"orders.example": "127.0.0.1"}) as names:
        url = f"http://orders.example:{app.server_port}"
        text = SITE.format(folder=tmp_path, dns=names.address, url=url)
        (tmp_path / "site.toml").write_text(text + f'[observer]\ndirectory = "{tmp_path}/observer"\nevery = "0.5 s"\n')
        yield Watched(tmp_path, app, names)


def test_a_sample_a_second(watched: Watched) -> None:
    """Without drift: six answers take five seconds, whatever each of them took."""
    file = watched.folder / "site.toml"
    file.write_text(file.read_text().replace('every = "0.5 s"', ""))
    with watched.observed():
        watched.app.world.how = "up"
        until(lambda: len(watched.samples()) >= 6, 30)
        samples = watched.samples()[:6]
    assert [s.seq for s in samples] == list(range(1, 7))
    assert abs((samples[-1].at - samples[0].at).total_seconds() - 5) < 0.5
    assert all(s.ok for s in samples)


def test_red_and_green(watched: Watched) -> None:
    """Every kind of trouble is a red sample every second, with its reason, and never a gap."""
    world = watched.app.world
    with watched.observed():
        for how, why in (
            ("red", "status 503"),
            ("wrong", "customer"),
            ("hang", "no answer within 0.45 s"),
            ("off", "health"),
        ):
            world.how = how
            assert why in str(watched.wait(lambda s: not s.ok).why)
            watched.wait(lambda s: not s.ok)
            watched.wait(lambda s: not s.ok)
        world.how = "up"
        world.over.set()
        watched.wait(lambda s: s.ok)
    samples = watched.samples()
    assert max(b.at - a.at for a, b in pairwise(samples)).total_seconds() < 2.5
    assert [s.seq for s in samples] == list(range(1, len(samples) + 1))


def test_record_that_moves(watched: Watched) -> None:
    """The next question and the next marker go to the new address: a failover is seen at once."""
    with application("127.0.0.2", watched.app.server_port) as other, watched.observed():
        assert other.world.asked == []
        watched.names.records["orders.example"] = "127.0.0.2"
        moved = time.monotonic()
        until(lambda: other.world.asked and other.world.markers["rows"])
        assert time.monotonic() - moved < 2.5
        watched.wait(lambda s: s.ok)
        known = len(watched.app.world.asked)
        watched.wait(lambda s: s.ok)
        assert len(watched.app.world.asked) == known


def test_dead_volume(watched: Watched) -> None:
    """Each store has its own markers: one that is dead does not stop the other."""
    with watched.observed():
        until(lambda: watched.markers("volume"))
        watched.app.world.dead_stores.add("volume")
        time.sleep(1.5)
        volume, rows = len(watched.markers("volume")), len(watched.markers("rows"))
        until(lambda: len(watched.markers("rows")) >= rows + 2)
        assert len(watched.markers("volume")) == volume


def test_only_acknowledged_markers(watched: Watched) -> None:
    """What the application acknowledged is written down, with the number it was given."""
    with watched.observed():
        until(lambda: len(watched.markers("rows")) >= 3)
        watched.app.world.how = "red"
        time.sleep(1.5)
    for store in ("rows", "volume"):
        written = {m.seq: m.id for m in watched.markers(store)}
        assert written.items() <= watched.app.world.markers[store].items()
    assert len({m.id for m in [*watched.markers("rows"), *watched.markers("volume")]}) == len(
        [*watched.markers("rows"), *watched.markers("volume")]
    )


def test_killed_and_started_again(watched: Watched) -> None:
    """Numbers go on, nothing that was written is lost, and a torn line does not glue two together."""
    with watched.process() as process:
        until(lambda: len(watched.samples()) >= 2 and len(watched.markers("volume")) >= 2)
        os.kill(process.pid, signal.SIGKILL)
    before, marked = watched.samples(), watched.markers("volume")
    with (watched.files / "samples.jsonl").open("ab") as file:
        file.write(b'{"seq":99,"at":"2026')
    with watched.observed():
        until(lambda: len(watched.samples()) >= len(before) + 2 and len(watched.markers("volume")) > len(marked))
    samples, markers = watched.samples(), watched.markers("volume")
    assert samples[: len(before)] == before
    assert [s.seq for s in samples] == list(range(1, len(samples) + 1))
    numbers = [m.seq for m in markers]
    assert numbers == sorted(set(numbers))


def test_told_to_end(watched: Watched) -> None:
    """SIGTERM ends it within a second, also while an answer hangs."""
    with watched.process() as process:
        watched.app.world.how = "hang"
        watched.wait(lambda s: not s.ok)
        began = time.monotonic()
        process.terminate()
        process.wait(10)
        assert time.monotonic() - began < 3  # well under 1 s on a machine with nothing else to do
    assert process.returncode == 0


def test_second_observer(watched: Watched) -> None:
    """It is refused: two would number their samples alike."""
    with watched.observed():
        with pytest.raises(Refused, match="another observer writes to"):
            observer.observe(sites.read(watched.folder / "site.toml", "lab"), threading.Event())
        assert observer.alive(watched.files) is not None


def test_heartbeat(watched: Watched) -> None:
    """An observer that was killed, or that hangs, does not count as alive for long."""
    with watched.process() as process:
        heartbeat = observer.alive(watched.files)
        assert heartbeat is not None
        assert (heartbeat.pid, observer.starttime(heartbeat.pid)) == (process.pid, heartbeat.starttime)
        os.kill(process.pid, signal.SIGSTOP)
        until(lambda: observer.alive(watched.files) is None, 10)


def test_loss_that_nobody_counted(watched: Watched) -> None:
    """After an outage the markers are read back, so that the next disaster is not blamed for what this one took."""
    with watched.observed():
        until(lambda: len(watched.markers("volume")) >= 3)
        watched.app.world.how = "red"
        watched.wait(lambda s: not s.ok)
        lost = watched.app.world.markers["volume"].popitem()[0]
        watched.app.world.how = "up"
        until(lambda: any(lost in r.absent_numbers for r in watched.read_backs()), 20)
    assert losses.lost_before(watched.files, "orders", "volume:invoices", now()) == {lost}


# -- for one run ----------------------------------------------------------------------------------------------------


def _case(watched: Watched, monkeypatch: pytest.MonkeyPatch, *, resident: bool) -> Case:
    """The child that the run starts finds the same site by the same name."""
    monkeypatch.setenv("DR_LAB_ROOT", str(watched.folder))
    if not resident:
        file = watched.folder / "site.toml"
        file.write_text(file.read_text().partition("[observer]")[0])
    case = case_of(sites.load("lab"))
    case.request = case.request.model_copy(update={"site": "lab"})
    return case


def test_run_with_a_resident_observer(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started, nothing is unknown, and the run's end leaves it alone."""
    case = _case(watched, monkeypatch, resident=True)
    with watched.process() as process:
        run_observer.ensure(case)
        probes.end_observer(case)
        assert process.poll() is None
    assert list(case.journal.of("unknown")) == []


def test_run_without_an_observer(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is started for it, outlives it when it is killed, and what cannot be known is said."""
    case = _case(watched, monkeypatch, resident=False)
    run_observer.ensure(case)
    where = observer.directory(case.site, case.run_id)
    assert where.is_relative_to(case.directory)
    heartbeat = observer.alive(where)
    assert heartbeat is not None
    assert heartbeat.for_run == case.run_id
    assert os.getsid(heartbeat.pid) == heartbeat.pid
    assert "no observer was running before" in str(next(case.journal.of("unknown")).data["what"])
    run_observer.ensure(case)
    assert observer.alive(where) is not None
    probes.end_observer(case)
    assert observer.starttime(heartbeat.pid) != heartbeat.starttime


def test_run_that_ended_without_a_word(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its observer ends with it, since nobody else would end it."""
    case = _case(watched, monkeypatch, resident=False)
    run_observer.ensure(case)
    heartbeat = observer.alive(observer.directory(case.site, case.run_id))
    assert heartbeat is not None
    case.note("ended", ended="aborted", service="unknown", reason=None)
    until(lambda: observer.starttime(heartbeat.pid) != heartbeat.starttime, 10)


def test_full_disk(watched: Watched) -> None:
    """It lives on, its heartbeat is fresh, and no sample is missing: room for them was kept."""
    watched.files.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(watched.files)], check=True)
    try:
        with watched.observed():
            filler = watched.files / "filler"
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, (room := os.statvfs(watched.files)).f_bavail * room.f_bsize)
            full = len(watched.samples())
            until(lambda: len(watched.samples()) > full + 2 * observer.FRESH.total_seconds(), 60)
            assert observer.alive(watched.files) is not None
            filler.unlink()
            watched.wait(lambda _: True)
        numbers = [s.seq for s in watched.samples()]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    finally:
        subprocess.run(["umount", "--lazy", str(watched.files)], check=True)
