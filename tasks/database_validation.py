"""Is the database back? Each thing becomes a check; what could not be looked at is red."""

from __future__ import annotations

from runbooks import compare
from runbooks.database_ways import Way
from runbooks.errors import NotRecovered, RecoveryError
from runbooks.model import now
from runbooks.records import Check, CheckStatus, RowsState, RunKind, State, StoreLoss
from tasks import (
    database_archive,
    database_fence,
    database_plan,
    database_server,
    database_state,
    database_stop_point,
    database_symptoms,
    probes,
    store_losses,
    validation,
)
from tasks.cases import Case
from tasks.database_plan import Plan
from tasks.database_restore import Recovered, Restored
from tasks.database_server import Postgres
from tasks.database_state import DatabaseState
from tasks.steps import step


@step
def compare_database(case: Case) -> None:
    """Rows, sequences, constraints, indexes, checksums, where recovery stopped, and that WAL is archived again.

    Raises:
        NotRecovered: something is not as before; clients are still kept out.
    """
    with database_server.primary(case) as postgres:
        case.checks(checks(case, postgres))
    case.must_be_green()


def checks(case: Case, postgres: Postgres) -> list[Check]:
    """Of a database that runs; usable at any time after recovery. Writes nothing but a switch of the WAL segment."""
    recorded = case.recorded("database_state.record_before")
    before = recorded["evidence"] if recorded else None
    found: list[Check] = [*_stop_point(case, postgres), archiving(case, postgres), *_readable(case, postgres)]
    if before is None:
        case.note("checks", checks=[], weakly_checked=["rows, sequences, constraints: nothing was recorded before"])
        return [*found, *_plain(database_state.read(postgres))]
    if not case.is_drill and database_plan.of(case).target.kind is not None:
        case.note("checks", checks=[], weakly_checked=["rows, sequences: what was recorded before was wrong already"])
        return [*found, *_as_declared(DatabaseState.model_validate(before), database_state.read(postgres))]
    return [*found, *_as_before(DatabaseState.model_validate(before), database_state.read(postgres)),
            *rows(case, postgres)]  # fmt: skip


def _stop_point(case: Case, postgres: Postgres) -> list[Check]:
    plan, done = database_plan.of(case), case.recorded("database_restore.recover")
    if done is None:
        return [Check(name="stop point", expected="known", observed="unknown", status=CheckStatus.NOT_RUN)]
    if plan.way is Way.TABLE:
        return [_returned(plan, Restored.model_validate((case.recorded("database_restore.restore") or {})["evidence"]))]
    recovered = Recovered.model_validate(done["evidence"])
    return [stop_point(plan, recovered), database_stop_point.still_there(plan, postgres, recovered.timeline)]


def _readable(case: Case, postgres: Postgres) -> list[Check]:
    """What was damaged can be read to its end: by name, or all of it where only files were known."""
    recorded = case.recorded("database_symptoms.look")
    damaged = database_symptoms.of(case).corrupt if recorded else ()
    if not damaged:
        return []
    left = database_symptoms.unreadable(postgres, damaged)
    return [_check("damaged tables", "all readable", f"not readable: {', '.join(left)}" if left else "all readable")]


def _returned(plan: Plan, restored: Restored) -> Check:
    """Every row that the wrong transaction changed is as it was, or somebody has written it since."""
    found = restored.returned
    name, expected = f"rows of {plan.table} that transaction {plan.target.value} changed", "at least 1, all undone"
    if found is None:
        return Check(name=name, expected=expected, observed="unknown", status=CheckStatus.NOT_RUN)
    status = CheckStatus.PASSED if found.changed else CheckStatus.FAILED
    return Check(name=name, expected=expected, observed=f"{found.changed}: {found.told}", status=status)


def stop_point(plan: Plan, recovered: Recovered) -> Check:
    """Where recovery stopped, in PostgreSQL's own words, and that it came from a set older than the target."""
    try:
        database_stop_point.must_have_stopped_there(plan, recovered.reason)
        status = CheckStatus.PASSED
    except NotRecovered:
        status = CheckStatus.FAILED
    at, last = plan.target.at, recovered.last_commit_at
    if plan.target.kind == "time" and at is not None and last is not None and last >= at:
        status = CheckStatus.FAILED  # for the others the reason is exact, and a time only about the target's
    expected = f"before {plan.target.kind} {plan.target.value}" if plan.target.kind else "at the end of all WAL"
    observed = f"{recovered.reason}; last commit {last.isoformat() if last else 'unknown'}"
    return Check(name="stop point", expected=expected, observed=observed, status=status)


def archiving(case: Case, postgres: Postgres) -> Check:
    """A segment that was just ended comes into the repository."""
    segment = database_archive.switch(postgres)
    try:
        last = database_archive.wait_for(postgres, segment)
        if case.kind is not RunKind.SANDBOX:  # a copy's WAL must not come there
            database_archive.must_hold(postgres, segment)
    except RecoveryError as error:
        return Check(name="archiving", expected=segment, observed=error.problem, status=CheckStatus.FAILED)
    return Check(name="archiving", expected=segment, observed=last, status=CheckStatus.PASSED)


def _plain(found: DatabaseState) -> list[Check]:
    return [_check("checksums", "on", "on" if found.checksums else "off")]


def _as_before(before: DatabaseState, found: DatabaseState) -> list[Check]:
    behind = [f"{n}: {found.sequences.get(n)}" for n, v in before.sequences.items() if found.sequences.get(n, -1) < v]
    return [_check("sequences", "none behind", ", ".join(behind) or "none behind"), *_as_declared(before, found)]


def _as_declared(before: DatabaseState, found: DatabaseState) -> list[Check]:
    return [
        _check("checksums", "on" if before.checksums else "off", "on" if found.checksums else "off"),
        _all("constraints valid", before.constraints, found.constraints),
        _all("indexes valid", before.indexes, found.indexes),
    ]


def _check(name: str, expected: str, observed: str) -> Check:
    status = CheckStatus.PASSED if expected == observed else CheckStatus.FAILED
    return Check(name=name, expected=expected, observed=observed, status=status)


def _all(name: str, before: tuple[str, ...], found: tuple[str, ...]) -> Check:
    missing = sorted(set(before) - set(found))
    observed = f"missing or invalid: {', '.join(missing)}" if missing else f"all {len(before)}"
    return _check(name, f"all {len(before)}", observed)


def rows(case: Case, postgres: Postgres) -> list[Check]:
    """Those recorded before must be there, unchanged: count and digest up to the key recorded then."""
    before = case.load("before", State).rows
    after = [database_state.after(case, postgres, one) for one in before]
    case.save("after", State(application=case.application.name, taken_at=now(), rows=tuple(after)))
    return [check for pair in zip(before, after, strict=True) for check in _rows(*pair)]


def _rows(before: RowsState, after: RowsState) -> list[Check]:
    differing = compare.rows(before, after).differences
    whole = _check(f"{before.store} as before", "0 different", f"{len(differing)} different")
    return [whole, *(Check(name=d.where, expected=d.expected, observed=d.observed, status=CheckStatus.FAILED)
                     for d in differing)]  # fmt: skip


@step
def ask_outside(case: Case) -> None:
    """A client outside gets the right answers; a wrong one keeps clients out again. All green: validated.

    Raises:
        NotRecovered: it does not.
    """
    case.checks(validation.made("answers from outside", lambda: probes.ask_outside(case)))
    try:
        case.must_be_green()
    except RecoveryError:
        if database_plan.of(case).way is not Way.TABLE:
            with database_server.primary(case) as postgres:
                database_fence.write(case, postgres, postgres.value("show hba_file"))
                database_fence.enforce(postgres)
        raise
    case.clock("validated")


@step
def count_loss(case: Case) -> tuple[StoreLoss, ...]:
    """What is missing of the observer's markers; none from before the fault may be, when the plan says so.

    Raises:
        NotRecovered: more is lost than was agreed to.
    """
    plan = database_plan.of(case)
    stores = store_losses.of_rows(case, probes.fault(case), plan.backup)
    case.note("stores", stores=[s.model_dump(mode="json") for s in stores])
    case.checks([loss_as_planned(plan, store) for store in stores])
    case.must_be_green()
    return stores


def loss_as_planned(plan: Plan, store: StoreLoss) -> Check:
    """With all WAL at hand, or a target just before the fault, nothing acknowledged before the fault is lost."""
    name, expected = f"loss of {store.name}", "no marker from before the fault"
    if store.lost is None:
        return Check(name=name, expected=expected, observed="unknown", status=CheckStatus.NOT_RUN)
    if store.lost and (store.rpo_seconds or 0) <= plan.may_lose_seconds > 0:
        observed = f"{store.lost} markers lost, {store.rpo_seconds} s"
        return Check(name=name, expected=f"at most {plan.may_lose_seconds:.0f} s", observed=observed,
                     status=CheckStatus.PASSED)  # fmt: skip
    return _check(name, expected, expected if store.lost == 0 else f"{store.lost} markers lost")
