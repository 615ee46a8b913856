"""The end of a run's evidence: the report, the result message, the copy outside."""

from __future__ import annotations

import logging
import tempfile
import threading
from datetime import timedelta
from pathlib import Path

from runbooks import outside
from runbooks import report as reports
from runbooks.errors import RecoveryError
from runbooks.model import spell
from runbooks.records import Severity
from runbooks.render import timeline
from tasks import evidence, notify
from tasks.cases import FREE_THE_DISK, Case, save
from tasks.clients import artifacts

LOG = logging.getLogger("dr")
SENDING = timedelta(seconds=5)
KEPT_HERE = "all of it is kept here; the next run, or dr reports send, sends it when the store is back"


def publish(case: Case) -> None:
    """The report is made last, so that it knows what could not be sent."""
    earlier = reports.earlier(case.directory)
    case.mirror.end()
    desk = _desk(case)
    if (problem := _sent(case, desk)) is not None:
        case.finding("evidence copied", case.site.evidence.store.url, Severity.YELLOW, problem, KEPT_HERE)
    _renew(case, desk)
    notify.result(case, reports.build(desk, earlier))
    notify.end(case, within=timedelta(seconds=2))
    _renew(case, desk)
    case.report = made = reports.build(desk, earlier)
    reports.save(made, desk)
    if problem is None:
        evidence.begin(case.directory)
        _sent(case, desk)
    picture = timeline.svg(made, outside.read(desk / "samples.jsonl"))
    artifacts.show(case.run_id, page=(desk / "report.md").read_text(), picture=picture)


def _desk(case: Case) -> Path:
    """Where the report is made: with the evidence, or in the temporary directory when its disk is full."""
    case.reserve.release()
    case.journal.save()
    unwritten = [name for name, text in case.kept.items() if not _is_written(case.directory / name, text)]
    if case.journal.unsaved is None and not unwritten:
        return case.directory
    desk = Path(tempfile.mkdtemp(prefix="dr-evidence-")) / case.run_id
    desk.mkdir()
    what = ", ".join([*(["journal.jsonl"] if case.journal.unsaved is not None else []), *unwritten])
    problem = f"{case.directory} did not take {what}; with the report it is in {desk}"
    case.finding(reports.UNWRITTEN, str(case.directory), Severity.RED, problem, FREE_THE_DISK)
    _renew(case, desk)
    return desk


def _is_written(path: Path, text: str) -> bool:
    """There is room now, it may be: what the disk did not take before is tried once more."""
    if path.exists() and path.stat().st_size == len(text.encode()):
        return True
    try:
        save(path, text)
    except OSError:
        return False
    return True


def _renew(case: Case, desk: Path) -> None:
    """All that is in memory lies on the desk, too, when that is not the evidence directory itself."""
    if desk == case.directory:
        return
    save(desk / "journal.jsonl", case.journal.content().decode())
    for name, text in case.kept.items():
        save(desk / name, text)


def _sent(case: Case, desk: Path) -> str | None:
    """Copy all that there is to the store; why it was not, or None. A store that hangs is not waited for."""
    problems = [f"the evidence store did not take the evidence within {spell(SENDING)}"]

    def send() -> None:
        if not case.may_send():
            problems[0] = "another process goes on with this run: the copy in the evidence store is its own"
            return
        try:
            evidence.send_all(case.site, case.run_id, desk)
            problems.clear()
            evidence.send_left_over(case.site, but=case.run_id)
        except RecoveryError as error:
            problems[0] = error.problem

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(SENDING.total_seconds())
    return problems[0] if problems else None
