"""The observer: outside of every run and region it asks each application once a second and writes markers through it.

Its files are what downtime and loss are measured with: samples.jsonl, markers.jsonl, read-backs.jsonl, backups/.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from runbooks.errors import RecoveryError, Refused, Unavailable
from runbooks.model import Instant, Model, now
from runbooks.records import Marker
from runbooks.site import Application, Markers, Site
from tasks import backup_watch, lines, losses, questions
from tasks.cases import journal_path
from tasks.clients import http
from tasks.reserve import Reserve

LOG = logging.getLogger("dr.observer")
FRESH = timedelta(seconds=5)
STEADY_ANSWERS = 5
READ_BACK = timedelta(days=1)
ENDING_SECONDS = 0.1
ROOM_BYTES = 2 * 1024 * 1024
"""For hours of samples and markers when the disk is full."""


class Alive(Model):
    """The heartbeat; a pid counts only together with the start time of its process."""

    pid: int
    starttime: int
    at: Instant
    for_run: str | None = None


def directory(site: Site, run_id: str) -> Path:
    """Where the site's observer writes; a site without one gets an observer for each run."""
    return site.observer.directory if site.observer else site.evidence.directory / run_id / "observer"


def alive(where: Path) -> Alive | None:
    """The observer's last heartbeat, if it is fresh and, where applications are asked, its last sample is, too."""
    try:
        heartbeat = Alive.model_validate_json((where / "alive.json").read_text())
    except (OSError, ValueError):
        return None
    instants = [heartbeat.at, *(datetime.fromisoformat(str(s["at"])) for s in lines.tail(where / "samples.jsonl")[-1:])]
    return heartbeat if now() - min(instants) < FRESH else None


def starttime(pid: int) -> int | None:
    """In clock ticks since boot; None when there is no such process, or only its zombie."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(fields[18])


def observe(site: Site, stop: threading.Event, for_run: str | None = None) -> None:
    """Observes until *stop*, or until the run that it was started for has ended.

    Raises:
        Refused: the site says nowhere to write, or another observer writes there.
        Unavailable: a part of it died (disk full?); start it again, its files are continued.
    """
    if site.observer is None and for_run is None:
        raise Refused(f"site {site.name} has no [observer]", "name its directory in the site file")
    where = directory(site, for_run or "")
    every = site.observer.every if site.observer else timedelta(seconds=1)
    with _alone(where):
        reserve = Reserve(where, size_bytes=ROOM_BYTES)
        with contextlib.suppress(OSError):  # there is none to keep: what is written waits in memory
            reserve.take()
        parts = _Observer(site, where, every, stop, reserve).parts()
        parts += backup_watch.parts(site, where / "backups", stop)
        threads = [threading.Thread(target=act, name=name, daemon=True) for name, act in parts]
        for thread in threads:
            thread.start()
        try:
            _beat(site, where, threads, stop, for_run)
        finally:
            stop.set()
            end = time.monotonic() + ENDING_SECONDS
            for thread in threads:
                thread.join(max(end - time.monotonic(), 0))


@contextmanager
def _alone(where: Path) -> Iterator[None]:
    where.mkdir(parents=True, exist_ok=True)
    lock = os.open(where / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Refused(f"another observer writes to {where}", "one is enough; see alive.json there") from error
    finally:
        os.close(lock)


def _beat(site: Site, where: Path, threads: list[threading.Thread], stop: threading.Event, for_run: str | None) -> None:
    own = starttime(os.getpid()) or 0
    while not stop.is_set():
        if dead := [t.name for t in threads if not t.is_alive()]:
            raise Unavailable(f"the observer's part {dead[0]} died", "see its log; is the disk full? start it again")
        heartbeat = Alive(pid=os.getpid(), starttime=own, at=now(), for_run=for_run)
        _tell(where, heartbeat.model_dump_json())
        if for_run and _has_ended(journal_path(site, for_run)):
            return
        stop.wait(1)


def _tell(where: Path, heartbeat: str) -> None:
    """Not synced: after a crash of the host nobody asks for it. On a full disk it is written over the last one."""
    draft = where / ".alive.json.draft"
    try:
        draft.write_text(heartbeat)
        draft.replace(where / "alive.json")
    except OSError:
        with contextlib.suppress(OSError), (where / "alive.json").open("r+") as file:
            file.write(heartbeat)
            file.truncate()


def _has_ended(journal: Path) -> bool:
    """Ended, and not begun again since."""
    kinds = [entry["kind"] for entry in lines.tail(journal) if entry["kind"] in ("attempt", "ended")]
    return kinds[-1:] == ["ended"]


class _Numbers:
    """Counts on from the last number in a file."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._lock = threading.Lock()

    def next(self) -> int:
        with self._lock:
            self._last += 1
            return self._last


class _Observer:
    def __init__(self, site: Site, where: Path, every: timedelta, stop: threading.Event, reserve: Reserve) -> None:
        self._site, self._where, self._every, self._stop = site, where, every, stop
        self._samples, self._markers, self._read_backs = (
            lines.Log(where / f"{name}.jsonl", reserve) for name in ("samples", "markers", "read-backs")
        )
        self._numbers = _Numbers(max((int(str(s["seq"])) for s in lines.tail(where / "samples.jsonl")), default=0))
        self._limit = min(questions.LIMIT, every * 0.9)

    def parts(self) -> list[tuple[str, Callable[[], None]]]:
        found: list[tuple[str, Callable[[], None]]] = []
        for one in self._site.applications:
            back = threading.Event()
            back.set()  # what was lost while nobody looked is found at once
            if one.probes:
                found.append((f"samples of {one.name}", lambda a=one, b=back: self._ask(a, b)))  # type: ignore[misc]
            for markers in one.markers:
                name = f"{one.name} {markers.store}"
                found.append((f"markers of {name}", lambda a=one, m=markers: self._mark(a, m)))  # type: ignore[misc]
            if one.markers:
                found.append((f"read-back of {one.name}", lambda a=one, b=back: self._read_back(a, b)))  # type: ignore[misc]
        return found

    def _ask(self, application: Application, back: threading.Event) -> None:
        """One sample a beat. Red and then steadily green: the markers are read back."""
        greens = STEADY_ANSWERS
        for _ in beats(self._every, self._stop):
            at = now()
            replies = questions.ask_all(application, self._site.dns, within=self._limit)
            if self._stop.is_set():
                return
            sample = questions.sample(self._numbers.next(), at, application, replies)
            self._samples.append(sample)
            greens = greens + 1 if sample.ok else 0
            if greens == STEADY_ANSWERS:
                back.set()

    def _mark(self, application: Application, markers: Markers) -> None:
        """One marker a beat; only an acknowledged one is written down."""
        seq = self._last_marker(application, markers)
        for _ in beats(self._every, self._stop):
            seq += 1
            name = f"{markers.store.replace(':', '-')}-{seq}"
            try:
                answer = http.post(markers.write, {"id": name, "seq": seq}, within=self._limit, dns=self._site.dns)
            except RecoveryError:
                continue
            if answer.is_success and not self._stop.is_set():
                marker = Marker(seq=seq, at=now(), application=application.name, store=markers.store, id=name)
                self._markers.append(marker)

    def _last_marker(self, application: Application, markers: Markers) -> int:
        """Counts on; without a log from the seconds of the clock, since the application may hold older numbers."""
        mine = [
            int(str(m["seq"]))
            for m in lines.tail(self._where / "markers.jsonl")
            if (m["application"], m["store"]) == (application.name, markers.store)
        ]
        return max(mine, default=int(time.time()))

    def _read_back(self, application: Application, back: threading.Event) -> None:
        while not self._stop.is_set():
            if back.wait(1):
                back.clear()
                for markers in application.markers:
                    self._read_back_store(application, markers)

    def _read_back_store(self, application: Application, markers: Markers) -> None:
        """Write down what is missing now, so that no later disaster is blamed for it."""
        written = losses.of(self._where, application.name, markers.store, now() - READ_BACK)
        if not written:
            return
        first, last = written[0].seq, written[-1].seq
        try:
            present = losses.present(markers, self._site.dns, after=first - 1)
        except RecoveryError as error:
            LOG.warning("%s %s was not read back: %s", application.name, markers.store, error.problem)
            return
        absent = losses.ranges({m.seq for m in written} - present)
        self._read_backs.append(
            losses.ReadBack(
                at=now(), application=application.name, store=markers.store, first=first, last=last, absent=absent
            )
        )


def beats(every: timedelta, stop: threading.Event) -> Iterator[None]:
    """Now and then once each *every*, without drift; beats that were missed are left out, not made up for."""
    began, number, seconds = time.monotonic(), 0, every.total_seconds()
    while not stop.is_set():
        yield
        number = max(number + 1, math.ceil((time.monotonic() - began) / seconds))
        if stop.wait(max(began + number * seconds - time.monotonic(), 0)):
            return
