"""Opens a run, or goes on with one, and ends it: net, clean up, record, whatever happened in between."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from types import FrameType

from runbooks import outside
from runbooks import report as reports
from runbooks import site as sites
from runbooks.errors import Aborted, DryRunEnded, RecoveryError, Refused
from runbooks.journal import Journal
from runbooks.model import Json, spell
from runbooks.records import Ended, Severity
from runbooks.render import timeline
from runbooks.report import Report
from tasks import evidence, locks, notify, probes
from tasks.cases import Attempt, Case, Request, hold, journal_path, opened, parameters_of, started
from tasks.clients import artifacts
from tasks.endings import Ending
from tasks.software import versions

LOG = logging.getLogger("dr")
SENDING = timedelta(seconds=5)
KEPT_HERE = "all of it is kept in the evidence directory; copy it when the store is back"
DEFECT = "a defect of this software: report it"


class RunFailed(Exception):
    """The run ended without `passed` or `late`; its report is written. Prefect shows the flow run as Failed."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"{report.run_id}: {report.verdict}")
        self.report = report


@contextlib.contextmanager
def open(run_id: str, request: Request, attempt: Attempt, ending: Ending) -> Iterator[Case]:
    """A new run of this id, or the next attempt of one that did not finish.

    House errors from the body end the run and are recorded, not raised: `conclude` judges it. A bug is recorded as
    crashed and raised.

    Raises:
        Refused: before anything is written to the run: unknown site or application, the run is being executed, it has
            finished, or it was asked for with other parameters.
    """
    site = sites.load(request.site)
    before = parameters_of(site, run_id)
    _must_be_same(run_id, before, request)
    locks.must_be_alone(site, request.application, run_id, take_over=attempt.take_over)
    if before is not None:
        evidence.fetch(site, run_id)
    path = journal_path(site, run_id)
    handle = hold(path.parent)
    try:
        journal = Journal(path)
        _must_be_unfinished(run_id, journal)
        case = Case(run_id, request, attempt, site, journal)
        _begin(case)
        with _signals():
            case.failure = failure = yield from _body(case)
            end(case, failure, ending)
        if failure is not None and not isinstance(failure, RecoveryError):
            raise failure
    finally:
        os.close(handle)


def _body(case: Case) -> Generator[Case, None, BaseException | None]:
    try:
        yield case
    except BaseException as error:  # noqa: BLE001 - the one place that must see all: no run ends unrecorded
        return error
    return None


def conclude(case: Case) -> Report:
    """The report, made from the journal.

    Raises:
        RunFailed: the verdict is neither passed nor late, and it was no dry run that went well.
    """
    made = reports.Report.from_file(case.directory / "report.json")
    if made.verdict not in ("passed", "late") and not isinstance(case.failure, DryRunEnded):
        raise RunFailed(made)
    return made


def _must_be_same(run_id: str, before: Request | None, request: Request) -> None:
    if before is not None and before != request:
        names = [n for n in Request.model_fields if getattr(before, n) != getattr(request, n)]
        told = "; ".join(f"{n}: {getattr(before, n)} then, {getattr(request, n)} now" for n in names)
        raise Refused(
            f"run {run_id} was started with other parameters ({told}); nothing was written to it",
            "resume it with its run id alone, or start a new run with another id",
        )


def _must_be_unfinished(run_id: str, journal: Journal) -> None:
    last = max(journal.of("ended"), key=lambda e: e.seq, default=None)
    if last is not None and last.data["ended"] in ("finished", "refused"):
        raise Refused(
            f"run {run_id} has ended ({last.data['ended']}); nothing was written to it",
            f"see its report (dr reports show {run_id}), or start a new run with another id",
        )


def _begin(case: Case) -> None:
    is_new = not any(case.journal.of("opened"))
    case.journal.begin_attempt(**started(case))
    if is_new:
        case.note("opened", **opened(case))
        case.note("tools", **versions())
    else:
        case.event(f"resumed, attempt {case.journal.attempt}")
    notify.begin(case)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and ctrl-C end the run through its record, not around it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        raise Aborted(
            f"stopped by {signal.Signals(number).name}",
            "what it has begun in other systems may run on; start again with the same run id to go on",
        )

    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end(case: Case, failure: BaseException | None, ending: Ending) -> None:
    """Use the net when plan A failed, put things away, say how it ended, make the report."""
    ended = _how(case, failure)
    use_net = ending.net
    if use_net is not None and ended == "finished" and failure is not None and case.is_broken():
        _tried(case, "net.use", lambda: use_net(case, str(failure)), Severity.RED)
    case.enter("record")
    _tried(case, "probes.save_window", lambda: probes.save_window(case))
    case.enter("clean_up")
    for name, act in ending.steps(case, ended, failure):
        _tried(case, name, act)
    if failure is not None and ended != "refused":
        case.note("remaining", steps=list(case.document.remaining(case)))
    _tried(case, "probes.save_window", lambda: probes.save_window(case))
    case.note("ended", ended=ended, service=probes.service(case), reason=_reason(failure))
    _publish(case)


def _how(case: Case, failure: BaseException | None) -> Ended:
    if failure is None:
        return "finished"
    if isinstance(failure, Aborted):
        return "aborted"
    if not isinstance(failure, RecoveryError):
        return "crashed"
    return "finished" if case.has_changed_target() else "refused"


def _reason(failure: BaseException | None) -> Json:
    if failure is None:
        return None
    if isinstance(failure, RecoveryError):
        return {"error": type(failure).__name__, "problem": failure.problem, "hint": failure.hint}
    return {"error": type(failure).__name__, "problem": str(failure), "hint": DEFECT}


def _tried(case: Case, name: str, act: Callable[[], object], severity: Severity = Severity.YELLOW) -> None:
    """One step of the end: what fails is recorded, a defect of ours too, and the next is done all the same."""
    case.step = name
    try:
        act()
    except RecoveryError as error:
        case.note("clean_up", step=name, status="failed", why=error.problem)
        case.finding(name, case.application.name, severity, error.problem, error.hint)
    except Exception as error:  # else the run would end without a word of how it ended
        LOG.exception("%s", name)
        case.note("clean_up", step=name, status="failed", why=repr(error))
        case.finding(name, case.application.name, Severity.RED, f"{name}: {error!r}", DEFECT)
    else:
        case.note("clean_up", step=name, status="done", why=None)
    case.step = None


def _publish(case: Case) -> None:
    """Report, result message, copy outside; the report is made last, so that it knows what could not be sent."""
    earlier = reports.earlier(case.directory)
    case.mirror.end()
    if (problem := _sent(case)) is not None:
        case.finding("evidence copied", case.site.evidence.store.url, Severity.YELLOW, problem, KEPT_HERE)
    notify.result(case, reports.build(case.directory, earlier))
    notify.end(case, within=timedelta(seconds=2))
    made = reports.build(case.directory, earlier)
    reports.save(made, case.directory)
    if problem is None:
        _sent(case)
    picture = timeline.svg(made, outside.read(case.directory / "samples.jsonl"))
    artifacts.show(case.run_id, page=(case.directory / "report.md").read_text(), picture=picture)


def _sent(case: Case) -> str | None:
    """Copy all that there is to the store; why it was not, or None. A store that hangs is not waited for."""
    problems = [f"the evidence store did not take the evidence within {spell(SENDING)}"]

    def send() -> None:
        try:
            case.mirror.send_all(case.directory)
            problems.clear()
        except RecoveryError as error:
            problems[0] = error.problem

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(SENDING.total_seconds())
    return problems[0] if problems else None
