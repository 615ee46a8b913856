"""What is put away at the end of a run, in order. Each step is tried, whatever became of the one before."""

from __future__ import annotations

from runbooks.errors import Aborted
from runbooks.records import Ended, RunKind
from tasks import (
    database_protection,
    database_sandbox,
    file_protection,
    file_returns,
    locks,
    net,
    obstacles,
    open_incidents,
    original,
    probes,
    protection,
    sandbox,
    velero,
)
from tasks.cases import Case
from tasks.endings import Ending, Steps


def steps(case: Case, ended: Ended, failure: BaseException | None) -> Steps:
    """An aborted or crashed run is going to be resumed: it only lets go of the lock."""
    if not isinstance(failure, Aborted) and ended != "crashed":
        yield "net.put_away", lambda: net.put_away(case, recovered=failure is None)
        if sandbox.was_begun(case):
            yield "sandbox.remove", lambda: sandbox.remove(case)
            yield "original.look_again", lambda: original.look_again(case)
        yield "obstacles.resume", lambda: obstacles.resume(case, recovered=failure is None)
        if case.is_broken() or (case.kind is RunKind.INCIDENT and case.has_changed_target()):
            yield "velero.save_results", lambda: velero.save_results(case)
            yield "protection.check", lambda: protection.check(case)
    yield "probes.end_observer", lambda: probes.end_observer(case)
    if case.kind is RunKind.INCIDENT and not isinstance(failure, Aborted) and ended != "crashed":
        yield "open_incidents.close", lambda: open_incidents.close(case)
    yield "locks.release", lambda: locks.release(case)


def of_database(case: Case, ended: Ended, failure: BaseException | None) -> Steps:
    """An aborted or crashed run is going to be resumed: it only lets go of the lock."""
    if not isinstance(failure, Aborted) and ended != "crashed":
        if database_sandbox.was_begun(case):
            yield "database_sandbox.remove", lambda: database_sandbox.remove(case)
            yield "database_sandbox.look_again", lambda: database_sandbox.look_again(case)
        if case.kind is not RunKind.SANDBOX:
            yield "database_protection.keep", lambda: database_protection.keep(case, recovered=failure is None)
            yield "database_protection.let_in", lambda: database_protection.let_in(case)
        if case.kind is not RunKind.SANDBOX and case.has_changed_target():
            yield "database_protection.check", lambda: database_protection.check(case)
    yield "probes.end_observer", lambda: probes.end_observer(case)
    if case.kind is RunKind.INCIDENT and not isinstance(failure, Aborted) and ended != "crashed":
        yield "open_incidents.close", lambda: open_incidents.close(case)
    yield "locks.release", lambda: locks.release(case)


DATABASE = Ending(steps=of_database)
NAMESPACE = Ending(steps=steps, net=net.use)


def files(case: Case, ended: Ended, failure: BaseException | None) -> Steps:
    """An aborted or crashed run is going to be resumed: what it restored beside is still needed."""
    if not isinstance(failure, Aborted) and ended != "crashed":
        yield "file_returns.put_away", lambda: file_returns.put_away(case, recovered=failure is None)
        if not case.is_drill and failure is None:
            yield "file_protection.back_up", lambda: file_protection.back_up(case)
    yield "probes.end_observer", lambda: probes.end_observer(case)
    if case.kind is RunKind.INCIDENT and not isinstance(failure, Aborted) and ended != "crashed":
        yield "open_incidents.close", lambda: open_incidents.close(case)
    yield "locks.release", lambda: locks.release(case)


FILES = Ending(steps=files)
