"""Opens a run, or goes on with one, and ends it: net, clean up, record, whatever happened in between."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator
from types import FrameType

from runbooks import site as sites
from runbooks.errors import Aborted, DryRunEnded, RecoveryError, Refused
from runbooks.journal import Journal
from runbooks.model import Json
from runbooks.records import Ended, Severity
from runbooks.report import Report
from tasks import evidence, locks, notify, probes, publishing
from tasks.cases import (
    FREE_THE_DISK,
    Attempt,
    Case,
    Request,
    hold,
    journal_path,
    opened,
    parameters_of,
    started,
)
from tasks.endings import Ending
from tasks.reserve import Reserve
from tasks.software import versions
from tasks.steps import in_spite_of_silence

LOG = logging.getLogger("dr")
LETTING_GO = ("probes.end_observer", "locks.release")
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
    left_lock = locks.must_be_alone(site, request.application, run_id, take_over=attempt.take_over)
    if before is not None:
        evidence.fetch(site, run_id)
    path = journal_path(site, run_id)
    handle = hold(path.parent)
    try:
        journal = Journal(path)
        _must_be_unfinished(run_id, journal)
        case = Case(run_id, request, attempt, site, journal)
        case.left_lock = left_lock
        _begin(case)
        with _signals() as stop:
            case.failure = failure = yield from _body(case, stop)
            end(case, failure, ending, stop)
        if failure is not None and not isinstance(failure, RecoveryError):
            raise failure
    finally:
        Reserve(path.parent).release()
        os.close(handle)


def _body(case: Case, stop: Stop) -> Generator[Case, None, BaseException | None]:
    try:
        yield case
        stop.may_interrupt = False
    except BaseException as error:  # noqa: BLE001 - the one place that must see all: no run ends unrecorded
        stop.may_interrupt = False
        return error
    return None


def conclude(case: Case) -> Report:
    """The report, made from the journal.

    Raises:
        RunFailed: the verdict is neither passed nor late, and it was no dry run that went well.
    """
    made = case.report
    assert made is not None, "a run that has ended has a report"
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
    """Raises: Refused: there is no room for the evidence, and this run has not changed anything yet."""
    is_new = not any(case.journal.of("opened"))
    evidence.begin(case.directory)
    try:
        case.reserve.take()
    except OSError as error:
        if not case.has_changed_target():
            raise Refused(f"evidence cannot be written to {case.directory}: {error.strerror}", FREE_THE_DISK) from error
    case.journal.begin_attempt(**started(case))
    if is_new:
        case.note("opened", **opened(case))
        case.note("tools", **versions())
    else:
        case.event(f"resumed, attempt {case.journal.attempt}")
    notify.begin(case)


class Stop:
    """SIGTERM and ctrl-C end the run through its record, not around it: they cut a step off, never what records it."""

    def __init__(self) -> None:
        self.may_interrupt = True
        self.asked: Aborted | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        self.asked = Aborted(
            f"stopped by {signal.Signals(number).name}",
            "what it has begun in other systems may run on; start again with the same run id to go on",
        )
        if self.may_interrupt:
            raise self.asked


@contextlib.contextmanager
def _signals() -> Iterator[Stop]:
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end(case: Case, failure: BaseException | None, ending: Ending, stop: Stop) -> None:
    """Use the net when plan A failed, put things away, say how it ended, make the report.

    A signal ends the step that it meets; then the run only lets go of what dies with it, and can be gone on with.
    """
    ended = _how(case, failure)
    use_net = ending.net
    if use_net is not None and ended == "finished" and failure is not None and case.is_broken():
        _tried(case, stop, "net.use", lambda: use_net(case, str(failure)), Severity.RED)
    case.enter("record")
    _tried(case, stop, "probes.save_window", lambda: probes.save_window(case))
    case.enter("clean_up")
    for name, act in ending.steps(case, ended, failure):
        if stop.asked is None or name in LETTING_GO:
            _tried(case, stop, name, act)
    reason = stop.asked or failure
    if reason is not None and ended != "refused":
        case.note("remaining", steps=list(case.document.remaining(case)))
    _tried(case, stop, "probes.save_window", lambda: probes.save_window(case))
    ended = "aborted" if stop.asked else ended
    case.note("ended", ended=ended, service=probes.service(case), reason=_reason(reason))
    publishing.publish(case)


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


def _tried(case: Case, stop: Stop, name: str, act: Callable[[], object], severity: Severity = Severity.YELLOW) -> None:
    """One step of the end: what fails is recorded, a defect of ours too, and the next is done all the same."""
    case.step = name
    try:
        stop.may_interrupt = True
        in_spite_of_silence(case, act)
        stop.may_interrupt = False
    except RecoveryError as error:
        stop.may_interrupt = False
        case.note("clean_up", step=name, status="failed", why=error.problem)
        case.finding(name, case.application.name, severity, error.problem, error.hint)
    except Exception as error:  # else the run would end without a word of how it ended
        stop.may_interrupt = False
        LOG.exception("%s", name)
        case.note("clean_up", step=name, status="failed", why=repr(error))
        case.finding(name, case.application.name, Severity.RED, f"{name}: {error!r}", DEFECT)
    else:
        case.note("clean_up", step=name, status="done", why=None)
    case.step = None
