"""What the outside sees, judged by data and by the observer's samples."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from runbooks import outside
from runbooks.errors import NotRecovered, Refused
from runbooks.model import now
from runbooks.records import Backup, CheckStatus, FileManifest, FileRecord, Marker, Mode, Sample, State
from runbooks.site import Application, Dns, Markers, Probe
from runbooks.site import Files as SiteFiles
from tasks import lines, observer, probes, questions
from tasks.cases import Case, save
from tasks.velero import BackupRecord
from tests.tasks.cases import case_of, site_of
from tests.tasks.outside import Application as Server
from tests.tasks.outside import application

pytestmark = pytest.mark.slow

SECOND = timedelta(seconds=1)


@pytest.fixture
def app() -> Iterator[Server]:
    with application() as running:
        yield running


def _orders(url: str, **more: object) -> Application:
    given: dict[str, object] = {
        "name": "orders",
        "home": "a",
        "probes": (
            Probe.model_validate({"name": "health", "url": f"{url}/health", "json": {"status": "UP"}}),
            Probe.model_validate({"name": "order", "url": f"{url}/orders/12345", "json": {"customer": "ACME"}}),
        ),
        "markers": tuple(
            Markers(store=store, write=f"{url}/markers/{path}", read=f"{url}/markers/{path}")
            for store, path in (("rows:orders", "rows"), ("volume:invoices", "volume"))
        ),
        "sustain": timedelta(seconds=5),
        **more,
    }
    return Application.model_validate(given)


# -- questions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "status", "why"),
    [
        ("up", 200, None),
        ("red", 503, "health: status 503, not 200; order: status 503, not 200"),
        ("wrong", 200, 'order: customer is "nobody", not "ACME"'),
        ("hang", None, "no answer within 0.9 s"),
        ("slow", None, "no answer within 0.9 s"),
        ("drip", None, "no answer within 0.9 s"),
        ("off", None, "health: http://"),
    ],
)
def test_sample(how: str, status: int | None, why: str | None, app: Server) -> None:
    """One second, one sample: data is judged, and a late answer is red."""
    app.world.how = how
    orders = _orders(app.url)
    began = time.monotonic()
    sample = questions.sample(1, now(), orders, questions.ask_all(orders, Dns()))
    assert time.monotonic() - began < 1.3
    assert (sample.ok, sample.status) == (why is None, status)
    assert why is None or why in str(sample.why)


def test_one_slow_probe_of_two(app: Server) -> None:
    """The others are asked beside it, and it alone is red."""
    slow = Probe.model_validate({"name": "slow", "url": "http://10.255.255.1/", "json": {}})
    orders = _orders(app.url)
    replies = questions.ask_all(orders.model_copy(update={"probes": (slow, *orders.probes)}), Dns())
    assert [r.ok for r in replies] == [False, True, True]


def test_outside_checks(app: Server, tmp_path: Path) -> None:
    """A check for each probe; a Service that opens a moment later is given that moment."""
    case = case_of(site_of(tmp_path, _orders(app.url)))
    checks = probes.ask_outside(case)
    assert [(c.name, c.status) for c in checks] == [
        ("outside: health", CheckStatus.PASSED),
        ("outside: order", CheckStatus.PASSED),
    ]
    assert checks[1].expected == 'status 200, customer "ACME"'


def test_service(app: Server, tmp_path: Path) -> None:
    """Back only if all is green; unknown where nothing can be asked."""
    case = case_of(site_of(tmp_path, _orders(app.url)))
    assert probes.service(case) == "back"
    app.world.how = "wrong"
    assert probes.service(case) == "down"
    assert probes.service(case_of(site_of(tmp_path / "2", _orders(app.url, probes=())))) == "unknown"


# -- samples --------------------------------------------------------------------------------------------------------


class Files:
    """The observer's files, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.samples, self.markers = lines.Log(folder / "samples.jsonl"), lines.Log(folder / "markers.jsonl")
        self._seq = 0

    def seen(self, colours: str, *, end: datetime) -> None:
        """One sample a second up to *end*: g green, r red, a dot nothing."""
        for number, colour in enumerate(colours):
            self._seq += 1
            at = end - SECOND * (len(colours) - 1 - number)
            if colour != ".":
                ok = colour == "g"
                self.samples.append(
                    Sample(
                        seq=self._seq, at=at, application="orders", ok=ok, status=200, ms=1, why=None if ok else "bad"
                    )
                )

    def wrote(self, count: int, *, end: datetime) -> None:
        """*count* markers on the volume, one a second, numbered from 1, the last one at *end*."""
        for seq in range(1, count + 1):
            at = end - SECOND * (count - seq)
            self.markers.append(Marker(seq=seq, at=at, application="orders", store="volume:invoices", id=str(seq)))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "observer")


def _case(tmp_path: Path, app: Server, files: Files, mode: Mode = Mode.DRILL) -> Case:
    save(files.folder / "alive.json", observer.Alive(pid=1, starttime=1, at=now()).model_dump_json())
    return case_of(site_of(tmp_path, _orders(app.url), observer=files.folder), mode=mode)


def _seconds_ago(at: datetime) -> float:
    return (now() - at).total_seconds()


def test_visible(app: Server, tmp_path: Path, files: Files) -> None:
    """The start of the green that held, not its end, nor the lucky green in between."""
    case = _case(tmp_path, app, files)
    at = now()
    case.clock("fault", at - SECOND * 20)
    files.seen("gggrrrrgrrrrgggggggg", end=at)
    case.clock("restored", at - SECOND * 10)
    probes.wait_until_visible(case)
    visible = case.clock_of("client_visible")
    assert visible is not None
    assert abs((at - visible).total_seconds() - 7) < 0.1


def test_never_red(app: Server, tmp_path: Path, files: Files) -> None:
    """The fault itself: clients noticed nothing."""
    case = _case(tmp_path, app, files)
    case.clock("fault", now() - SECOND * 10)
    files.seen("g" * 14, end=now())
    probes.wait_until_visible(case)
    assert case.clock_of("client_visible") == case.clock_of("fault")


def test_gap_in_the_samples(app: Server, tmp_path: Path, files: Files) -> None:
    """Nobody knows what happened in it, so its later end counts."""
    case = _case(tmp_path, app, files)
    at = now()
    case.clock("fault", at - SECOND * 20)
    files.seen("ggrrggg.....gggggg", end=at)
    probes.wait_until_visible(case)
    visible = case.clock_of("client_visible")
    assert visible is not None
    assert abs((at - visible).total_seconds() - 5) < 0.1


def test_red_for_good(app: Server, tmp_path: Path, files: Files) -> None:
    """Not recovered, with what was seen last."""
    case = _case(tmp_path, app, files)
    case = _hurried(case)
    case.clock("fault", now() - SECOND * 5)
    files.seen("grrrr", end=now() + SECOND * 3)
    with pytest.raises(NotRecovered, match=r"orders green for 5 s from outside: not within .*; last seen: red: bad"):
        probes.wait_until_visible(case)


def _hurried(case: Case) -> Case:
    """With a budget of hardly more than `sustain`."""
    case._phase_began["validate"] = time.monotonic() - 100_000
    return case


@pytest.mark.parametrize(
    ("colours", "problem"), [("ggggggr", "orders is red: bad"), ("ggggg", None), ("rgggggggg", None)]
)
def test_drill_needs_green(colours: str, problem: str | None, app: Server, tmp_path: Path, files: Files) -> None:
    """Red now is refused; green that held for `sustain` is enough, also when that takes a moment more."""
    case = _case(tmp_path, app, files)
    files.seen(colours, end=now() + SECOND)
    if problem is None:
        files.seen("ggg", end=now() + SECOND * 4)
        probes.must_be_green(case)
    else:
        with pytest.raises(Refused, match=problem):
            probes.must_be_green(case)


def test_drill_without_probes(app: Server, tmp_path: Path) -> None:
    """Nobody could tell whether it broke or came back."""
    with pytest.raises(Refused, match="orders has no probes"):
        probes.must_be_green(case_of(site_of(tmp_path, _orders(app.url, probes=()))))


def test_fault_of_an_incident(app: Server, tmp_path: Path, files: Files) -> None:
    """The last green before the present red, when no person says."""
    at = now()
    files.seen("gggggggggggggrrrr", end=at)
    case = _case(tmp_path, app, files, Mode.INCIDENT)
    fault = probes.fault(case)
    assert fault is not None
    assert abs((at - fault).total_seconds() - 4) < 0.1


def test_window_of_a_run(app: Server, tmp_path: Path, files: Files) -> None:
    """The evidence holds the samples from a minute before the fault on, and can be read by the report."""
    case = _case(tmp_path, app, files)
    case.clock("fault", now())
    files.seen("g" * 600, end=now())
    probes.save_window(case)
    kept = outside.read(case.directory / "samples.jsonl")
    assert 59 <= len(kept) <= 62
    assert _seconds_ago(kept[-1].at) < 5


# -- losses ---------------------------------------------------------------------------------------------------------


def _backed_up(case: Case, at: datetime) -> None:
    backup = Backup(
        name="hourly-1", uid="1", phase="Completed", location="default", started_at=at, completed_at=at + SECOND,
        expires_at=None, namespaces=("production",), is_safety_net=False,
    )  # fmt: skip
    case.save("backup", BackupRecord(backup=backup, objects=(), state=None, chosen_at=at + SECOND * 2))


def test_loss_since_the_backup(app: Server, tmp_path: Path, files: Files) -> None:
    """The volume lost what was written since its last marker came back; rows without markers are not 0."""
    case = _case(tmp_path, app, files)
    fault = case.clock("fault", now() - SECOND * 10)
    _backed_up(case, fault - SECOND * 60)
    files.wrote(300, end=fault)  # the last one exactly at the fault
    app.world.markers["volume"] = dict.fromkeys(range(1, 241), "")
    rows, volume = probes.count_loss(case)
    assert (volume.name, volume.rpo_seconds, volume.lost, volume.given_up) == ("volume:invoices", 60.0, 59, 1)
    assert volume.bound_seconds == pytest.approx(60, abs=0.01)
    assert volume.backup is not None
    assert volume.backup["name"] == "hourly-1"
    assert (rows.name, rows.rpo_seconds, rows.lost, rows.backup) == ("rows:orders", None, None, None)


def test_hole_before_the_window(app: Server, tmp_path: Path, files: Files) -> None:
    """Far more is gone than the backup explains: it is found out and counted."""
    case = _case(tmp_path, app, files)
    fault = case.clock("fault", now())
    _backed_up(case, fault - SECOND * 60)
    files.wrote(3000, end=fault - SECOND)
    app.world.markers["volume"] = dict.fromkeys(range(1, 1001), "")
    _, volume = probes.count_loss(case)
    assert (volume.rpo_seconds, volume.lost) == (2001.0, 2000)


@pytest.mark.parametrize(("sum_after", "bound"), [("same", 5), ("other", 60)])
def test_volume_without_markers(sum_after: str, bound: float, app: Server, tmp_path: Path, files: Files) -> None:
    """Unknown; but when every file came back, nothing older than the record of them was lost."""
    ledger = SiteFiles(claim="ledger", namespace="production", selector="app=x", container="x", path="/data")
    orders = _orders(app.url, markers=(), files=(ledger,))
    case = case_of(site_of(tmp_path, orders, observer=files.folder))
    fault = case.clock("fault", now())
    _backed_up(case, fault - SECOND * 60)
    for name, taken, digest in (("before", fault - SECOND * 5, "same"), ("after", now(), sum_after)):
        record = FileRecord(size_bytes=1, sha256=digest, modified_at=taken)
        manifest = FileManifest(store="volume:ledger", taken_at=taken, files={"book": record})
        case.save(name, State(application="orders", taken_at=taken, files=(manifest,)))
    [store] = probes.count_loss(case)
    assert (store.rpo_seconds, store.lost) == (None, None)
    assert store.bound_seconds == pytest.approx(bound, abs=0.01)


def test_store_that_cannot_be_read_back(app: Server, tmp_path: Path, files: Files) -> None:
    """Unknown, and the report says so."""
    case = _case(tmp_path, app, files)
    fault = case.clock("fault", now())
    _backed_up(case, fault - SECOND * 60)
    files.wrote(100, end=fault)
    app.world.dead_stores.add("volume")
    _, volume = probes.count_loss(case)
    assert (volume.rpo_seconds, volume.lost) == (None, None)
    assert volume.bound_seconds is not None
    assert "loss of volume:invoices" in str([e.data for e in case.journal.of("unknown")])


def test_loss_of_a_hundred_thousand_markers(app: Server, tmp_path: Path, files: Files) -> None:
    """Counting takes seconds."""
    case = _case(tmp_path, app, files)
    fault = case.clock("fault", now())
    _backed_up(case, fault - SECOND * 100_000)
    files.wrote(100_000, end=fault - SECOND)
    app.world.markers["volume"] = dict.fromkeys(range(1, 99_990), "")
    began = time.monotonic()
    _, volume = probes.count_loss(case)
    print(f"100,000 markers counted in {time.monotonic() - began:.2f} s")
    assert (volume.lost, volume.rpo_seconds) == (11, 12.0)
    assert time.monotonic() - began < 30  # 1 to 2 s on a machine with nothing else to do
