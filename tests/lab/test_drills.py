"""Real drills: a real namespace is deleted, Velero brings it back, and a client outside holds the stopwatch."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from runbooks import documents
from runbooks.model import now
from runbooks.records import CheckStatus, RunKind
from runbooks.report_schema import Report
from tests.lab import secret_search, stopwatch
from tests.lab.the_lab import DR, ROOT, TheLab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
SCENARIO = "namespace-deletion"
NEW = ("run", SCENARIO, "--site", "lab", "--mode", "drill", "--impact", "real", "--yes")
DOCUMENT = documents.load(SCENARIO)
STEPS = [s for s in DOCUMENT.steps_of(RunKind.DRILL) if DOCUMENT.phase_of(s) not in ("record", "clean_up")]
NUMBERS = itertools.count(1)


class Polled(Protocol):
    def poll(self) -> int | None: ...


@pytest.fixture
def run_id() -> str:
    return f"test-{now():%m%d-%H%M%S}-{next(NUMBERS)}"


def has_passed(lab: TheLab, run_id: str, output: str) -> Report:
    """Passed, with every check green and not one difference."""
    report = Report.from_file(lab.evidence(run_id) / "report.json")
    assert report.verdict == "passed", output
    checks = [c for a in report.applications for c in a.checks]
    assert [c for c in checks if c.status is not CheckStatus.PASSED] == []
    assert sum("0 different" in c.observed for c in checks) >= 3
    assert report.evidence_complete
    return report


def restores_of(lab: TheLab, run_id: str) -> list[str]:
    names = lab.kubectl("-n", "velero", "get", "restores", "-o", "name").split()
    return [n for n in names if run_id in n]


@pytest.fixture
def poller(lab: TheLab, tmp_path: Path) -> Iterator[Path]:
    with stopwatch.poller(lab, tmp_path / "poller.log") as log:
        yield log


def artifacts(lab: TheLab) -> set[str]:
    """The keys of all that Prefect's pages show beside the steps of runs."""
    answer = httpx.post(f"{lab.env['PREFECT_API_URL']}/artifacts/filter", json={}, timeout=10)
    return {one["key"] for one in answer.raise_for_status().json()}


def test_in_prefect_seen_from_outside(lab: TheLab, run_id: str, poller: Path) -> None:
    """Outage and return agree within 2 s with a client that knows nothing of us; no secret is left anywhere."""
    secrets = secret_search.secrets_of(lab)
    with secret_search.process_list() as processes:
        done = lab.dr(*NEW, "--run-id", run_id)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().splitlines()[-1] == f"report: {lab.evidence(run_id) / 'report.json'}"
    report = has_passed(lab, run_id, done.stdout)
    assert report.attempts[0].how == "prefect"
    assert artifacts(lab) >= {f"report-{run_id}", f"timeline-{run_id}"}
    visible = report.clocks.client_visible
    assert visible is not None
    red, green = stopwatch.outage(poller, report.clocks)
    assert report.actual.outage_seconds == pytest.approx(green - red, abs=2)
    assert visible.timestamp() == pytest.approx(green, abs=2)
    places = secret_search.places_of(lab, run_id, done.stdout + done.stderr)
    assert len(secrets) > 20
    assert secret_search.found(secrets, {**places, "the process list": processes.text}) == []
    assert restores_of(lab, run_id) == [f"restore.velero.io/restore-{run_id}"]


def test_killed_after_each_step_in_turn(lab: TheLab, run_id: str) -> None:
    """kill -9 after every step of one run: it goes on each time, with one Restore, and passes."""
    argv: tuple[str, ...] = (*NEW, "--run-id", run_id, "--no-server")
    for step in STEPS:
        process = lab.begin(*argv)
        with ahead_of_all():
            wait_for(lab, run_id, process, "done", step, seconds=120)
            process.kill()
        process.wait()
        argv = ("run", SCENARIO, "--site", "lab", "--run-id", run_id, "--yes", "--no-server")
    done = lab.dr(*argv)
    assert done.returncode == 0, done.stdout + done.stderr
    report = has_passed(lab, run_id, done.stdout)
    assert len(report.attempts) == len(STEPS) + 1
    assert restores_of(lab, run_id) == [f"restore.velero.io/restore-{run_id}"]


@contextmanager
def ahead_of_all() -> Iterator[None]:
    """Whoever kills behind a step that does nothing has 2 ms for it, on a busy machine, too."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def wait_for(lab: TheLab, run_id: str, process: Polled, kind: str, step: str, *, seconds: float) -> None:
    """Until the journal has that entry; looks 2,000 times a second, so that the next step has hardly begun."""
    journal = lab.evidence(run_id) / "journal.jsonl"
    until, seen, wanted = time.monotonic() + seconds, 0, (f'"kind":"{kind}"', f'"step":"{step}"')
    for look in itertools.count():
        size = journal.stat().st_size if journal.exists() else 0
        if size != seen:
            seen = size
            if any(all(w in line for w in wanted) for line in journal.read_text().splitlines()):
                return
        assert look % 100 or process.poll() is None, f"the run ended before {kind} {step}"
        assert time.monotonic() < until, f"no {kind} {step} within {seconds} s"
        time.sleep(0.0005)


def test_prefect_server_dies(lab: TheLab, run_id: str) -> None:
    """The recovery goes on at its own pace, and its result stands though Prefect cannot be told."""
    process = subprocess.Popen(
        [*DR, *NEW, "--run-id", run_id], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for(lab, run_id, process, "intent", "velero.restore", seconds=120)
    os.kill(lab.pid("prefect"), signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    lab.repair()
    assert process.returncode == 0, output[-3000:]
    has_passed(lab, run_id, output)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(20))
def test_soak(lab: TheLab, run_id: str, number: int) -> None:
    """A clean restore gives no difference, each of twenty times."""
    done = lab.dr(*NEW, "--run-id", run_id, "--no-server")
    assert done.returncode == 0, f"{number}: {done.stdout}{done.stderr}"
    has_passed(lab, run_id, done.stdout)
